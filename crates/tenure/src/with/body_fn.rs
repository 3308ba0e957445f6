//! What a body is to the compiler: an async closure whose future has a name.

/// An async closure from `A` to `O`, with its future as an associated type.
///
/// Every `async |resource| …` implements it. It is there for its `Fut`: the standard library's
/// `AsyncFnOnce` gives the future no name on stable Rust, so a function that takes one cannot say that its own future is
/// `Send`, and the compiler has to find out where it is used. It then forgets lifetimes, and refuses resources whose types
/// mention one, be it `'static` (rust-lang/rust#139475).
#[diagnostic::on_unimplemented(
    message = "a body has to be an `async` closure that takes the resource by `&mut`",
    label = "not such a closure",
    note = "write `async |resource| …`"
)]
pub trait BodyFn<A, O>: AsyncFnOnce(A) -> O + FnOnce(A) -> <Self as BodyFn<A, O>>::Fut {
    /// The future that the closure returns.
    type Fut: Future<Output = O>;
}

impl<A, O, F, Fut> BodyFn<A, O> for F
where
    F: AsyncFnOnce(A) -> O + FnOnce(A) -> Fut,
    Fut: Future<Output = O>,
{
    type Fut = Fut;
}
