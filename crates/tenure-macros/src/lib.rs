//! The attribute macros of `tenure`.
//!
//! Use them through the hub, with its feature `macros`: `tenure::main`, `tenure::test`, `tenure::context` with
//! `tenure::lend!`, and `tenure::within`. This crate has no use without it: what the macros write calls the hub.
//!
//! # What the macros call
//! By absolute path, `::tenure` unless an attribute says `crate = "path"`, and nothing beyond this list:
//!
//! ```text
//! pub fn context(impl FnOnce(Lender<T>) -> impl Future<Output = Result<(), X>>) -> C
//! pub fn context_recovering(impl FnOnce(Lender<T>) -> impl Future<Output = Result<Verdict, X>>) -> D
//!     C: Future<Output = Result<Lent<T, X>, X>> + Send + 'static
//!     D: Future<Output = Result<LentRecovering<T, X>, X>> + Send + 'static
//! impl<T> Lender<T> { pub async fn lend(self, value: T) -> _ }
//! pub fn with(context, impl AsyncFnOnce(&mut R) -> Result<T, E>) -> impl Future<Output = Result<T, E>>
//! pub fn with_recovering(context, …) -> impl Future<Output = Result<Option<T>, E>>
//!
//! pub mod __private {
//!     /// Takes a return type apart that is not written `Result<T, E>`: an alias.
//!     pub trait Fallible { type Value; type Error; }
//!     impl<T, E> Fallible for Result<T, E> { type Value = T; type Error = E; }
//!
//!     pub struct Main { … }
//!     impl Main {
//!         pub fn new() -> Self;
//!         pub fn current_thread(self) -> Self;
//!         pub fn multi_thread(self, worker_threads: Option<usize>) -> Self;
//!         pub fn exit_timeout(self, timeout: Duration) -> Self;
//!         pub fn body_stop_timeout(self, timeout: Duration) -> Self;
//!         pub fn success_after_signal(self, success: bool) -> Self;
//!         pub fn stop_on_hangup(self, stop: bool) -> Self;
//!         pub fn stop_on_quit(self, stop: bool) -> Self;
//!         /// At a signal the body is dropped, its exits are awaited.
//!         pub fn block_on<F>(self, body: F) -> ExitCode
//!         where F: Future<Output: Termination>;
//!         /// At a signal the token is cancelled, the body awaited.
//!         pub fn block_on_cooperative<B, F>(self, body: B) -> ExitCode
//!         where B: FnOnce(CancelToken) -> F, F: Future<Output: Termination>;
//!     }
//!
//!     pub struct Test { … }
//!     impl Test {
//!         pub fn new() -> Self;
//!         pub fn current_thread(self) -> Self;
//!         pub fn multi_thread(self, worker_threads: Option<usize>) -> Self;
//!         pub fn start_paused(self, paused: bool) -> Self;
//!         pub fn drain_limit(self, limit: Duration) -> Self;
//!         /// Panics, naming them, if tenures are open after the drain. `name` is the test's path.
//!         pub fn block_on<F: Future>(self, name: &'static str, body: F) -> F::Output;
//!     }
//! }
//! ```
//!
//! `main` calls exactly one of `current_thread` and `multi_thread`; so does `test`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod entry;
mod function;
mod options;
mod result;
mod within;

use proc_macro::TokenStream;
use quote::quote;

/// Runs an `async fn main` on a runtime, and every exit before the process ends.
///
/// At SIGINT or SIGTERM the body is dropped where it stands; the exits of what it held run in their order, what is
/// still held in other tasks is asked to stop, and those that were handed over are awaited, all before one deadline.
/// When the runtime has gone, the process ends with the code that is conventional for the signal, or with 70 if not all
/// went well. A second signal ends the process at once, whatever the main thread does. See `tenure::Run` for all of
/// this, and for the exit codes.
///
/// Inside of a runtime that already is there, await `tenure::run` instead.
///
/// # Being told, not dropped
/// A `main` that takes one argument, `shutdown: tenure::CancelToken`, is not dropped at the signal: the token is
/// cancelled, and the body ends by itself. It is dropped after all if that takes longer than its part of the time.
///
/// # Options
/// | option | meaning | default |
/// |---|---|---|
/// | `flavor = "multi_thread"`, `"current_thread"` | the runtime | `"multi_thread"` |
/// | `worker_threads = 4` | how many threads, for `multi_thread` | one for each core |
/// | `exit_timeout = "10s"` | how long a stop may take, from the signal to the end of the process; `ms`, `s` or `m` | `"25s"` |
/// | `body_stop_timeout = "5s"` | the part of it that a `main` with a token has | three fifths |
/// | `success_after_signal = true` | a clean stop by a signal has the exit code 0 | `false` |
/// | `stop_on_hangup = true` | SIGHUP stops `main` too | `false` |
/// | `stop_on_quit = true` | SIGQUIT stops `main` too | `false` |
/// | `crate = "path"` | where the hub is found, if it was renamed | `"::tenure"` |
///
/// # Errors
/// What `main` returns is reported as by a plain `main`: an error is printed by its `Debug`, and the exit code is 1.
///
/// # Panics
/// The process ends with the code 101, after the exits. A thread that blocks does not keep it from that.
///
/// # Examples
/// ```no_run
/// #[tenure::main(exit_timeout = "5s")]
/// async fn main() -> Result<(), std::io::Error> {
///     Ok(())
/// }
/// ```
///
/// ```no_run
/// #[tenure::main]
/// async fn main(shutdown: tenure::CancelToken) {
///     shutdown.cancelled().await;
/// }
/// ```
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(args.into(), item.into()).into()
}

/// Makes a test of an `async fn`: a runtime of its own, drained after it.
///
/// When the body has ended, whether well or by a panic, every exit that it handed over is awaited. A tenure that
/// is still open then fails the test, which prints its name and where it was entered; it is asked to stop all the same,
/// so that its exit runs. Then the runtime is shut down, for which a thread that blocks is not waited for longer than
/// 1 s; an exit that is lost with it fails the test too.
///
/// Other attributes (`#[ignore]`, `#[should_panic]`, `#[cfg(…)]`) work as with `#[test]`. Import this macro by its
/// path, `#[tenure::test]`: a glob import of the hub would make the plain `#[test]` ambiguous.
///
/// # Options
/// | option | meaning | default |
/// |---|---|---|
/// | `flavor = "multi_thread"`, `"current_thread"` | the runtime | `"current_thread"` |
/// | `worker_threads = 4` | how many threads, for `multi_thread` | one for each core |
/// | `start_paused = true` | the clock stands, and jumps when every task waits; for `current_thread`, with the hub's feature `test-util` | `false` |
/// | `drain_limit = "5s"` | how long the exits may take after the body; `ms`, `s` or `m` | the hub's |
/// | `crate = "path"` | where the hub is found, if it was renamed | `"::tenure"` |
///
/// # Panics
/// The test does, if the body does, if a tenure is open after the drain, or if an exit went wrong and nobody was told.
///
/// # Examples
/// ```
/// #[tenure::test(start_paused = true)]
/// async fn nothing_is_left_open() {
///     tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
/// }
/// ```
#[proc_macro_attribute]
pub fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(args.into(), item.into()).into()
}

/// Makes a context of an `async fn` that lends a value, as Python's `@asynccontextmanager`.
///
/// What stands before `lend!(value)` is the enter; what stands after it is the exit. The declared return type says
/// what entering gives, `Result<T, Error>`. The body lends that `T`, gets it back from `lend!` as `value`, told in
/// `ended` how the body that had it ended, and ends with `Ok(())` or an error.
///
/// `async fn f(args…) -> Result<T, E>` becomes
/// `fn f(args…) -> impl Future<Output = Result<Lent<T, E>, E>> + Send + 'static`.
/// It is the function `tenure::context` in another dress, with its guarantees; take that one where a
/// closure is enough.
///
/// # Guarantees
/// - Visibility, generics, `where` clauses, documentation and other attributes stay on the function, and `self` on a
///   method. The function that is left is not `async`: an attribute that rewrites the body of an `async fn`, such as
///   `tracing::instrument`, does not go with this one. The exit is in the span in which it was entered (law 19).
/// - Nothing runs until the context is entered, and each call makes a fresh one (law 31). It may recurse.
/// - Lending twice does not compile; never lending does not either, or, if some path does not come by `lend!`, is
///   `NeverLent` when it is entered (law 28).
///
/// # The word
/// `lend!(value)` is an expression that may stand wherever `.await` may in the function's own body, and in the `async`
/// closure that is given to a `with` there: so contexts nest. It may not stand in another closure, in an `async` block,
/// or in another macro's parentheses. It may stand in each of several branches, and in a loop that is left after it.
///
/// It is not `yield`: stable Rust rejects that word before any macro sees it.
///
/// # Arguments
/// An exit may end after its caller has gone, so a context is `Send + 'static` and borrows nothing: arguments come
/// by value, in an `Arc`, or as `&'static`; a method takes `self` or `self: Arc<Self>`.
///
/// # Options
/// | option | meaning |
/// |---|---|
/// | `recovering` | the body ends with `Ok(Verdict::…)`, and may recover from the failure it is told of; for `with_recovering` |
/// | `crate = "path"` | where the hub is found, if it was renamed |
///
/// # Cancel safety
/// Dropped before the lend, the function is dropped where it stands. Dropped after, it goes on to its end in the
/// background, told that the outcome is `Cancelled` (law 30).
///
/// # Errors
/// The error type has to be `From<NeverLent>`. What the function returns before the lend is the enter's error; what
/// it returns after is the exit's.
///
/// # Examples
/// ```
/// use tenure::{NeverLent, with};
///
/// # struct Conn;
/// # impl Conn { async fn close(self) -> Result<(), Error> { Ok(()) } }
/// # async fn connect(_: &str) -> Result<Conn, Error> { Ok(Conn) }
/// #[derive(Debug)]
/// struct Error;
///
/// impl From<NeverLent> for Error {
///     fn from(_: NeverLent) -> Self { Error }
/// }
///
/// /// A connection that is closed when its body has ended.
/// #[tenure::context]
/// pub async fn connection(url: String) -> Result<Conn, Error> {
///     let conn = connect(&url).await?;
///     let back = tenure::lend!(conn);
///     back.value.close().await?;
///     Ok(())
/// }
///
/// # #[tenure::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// with(connection("db".into()), async |_conn| Ok::<_, Error>(())).await
/// # }
/// ```
#[proc_macro_attribute]
pub fn context(args: TokenStream, item: TokenStream) -> TokenStream {
    context::context(args.into(), item.into()).into()
}

/// Lends the value of the context whose function this stands in; see [`macro@context`].
///
/// `lend!(value)` evaluates to a `tenure::Returned`: the `value`, and in `ended` how the body of the `with` ended. The
/// attribute [`macro@context`] puts the call in its place, so no import is needed; anywhere else this one says what is wrong.
///
/// # Examples
/// ```compile_fail
/// let back = tenure::lend!(5);
/// ```
#[proc_macro]
pub fn lend(_: TokenStream) -> TokenStream {
    quote! {
        ::core::compile_error!(
            "`lend!` lends the value of a context, and this is none\n\
             help: put `#[tenure::context]` on the `async fn` whose body this stands in"
        )
    }
    .into()
}

/// Enters a context before every call of an `async fn`, and exits it after; as a Python context used as a decorator.
///
/// `#[tenure::within(context)]` is short for a body that is `with(context, async |_| { … }).await`. The expression is
/// evaluated at each call, so each has a fresh context; it may use the arguments and `self`. They and the returned
/// value pass through.
///
/// Where the body needs the resource, `#[tenure::within(conn = connect(url))]` gives it the name `conn`, a `&mut`.
/// Where part of a function is to run within a context, or the context depends on what was computed in the body, call
/// `with` in it.
///
/// The function stays an `async fn`, so one that calls itself is refused, as is every `async fn` that contains itself with
/// `Send` asked of it. Write that one with `with` in its body, and with the return type that
/// `with` shows under "Recursion".
///
/// # Several contexts
/// Each has an attribute of its own. The topmost is entered first and exited last; those below see its name.
///
/// # Guarantees
/// Those of `with`: one exit for each enter, told how the body ended, on every path.
///
/// # Options
/// They stand before the context.
///
/// | option | meaning |
/// |---|---|
/// | `recovering` | the context may recover, by `with_recovering`: the function returns `Result<Option<T>, E>`, its body `Result<T, E>` |
/// | `crate = "path"` | where the hub is found, if it was renamed |
///
/// # Cancel safety
/// That of `with`: dropped, the body is dropped first, then the exit goes on to its end in the background.
///
/// # Errors
/// The function returns a `Result`, whose error is made from those of the enter and of the exit by `From`.
///
/// # Examples
/// ```
/// use tenure::{AsyncExit, Outcome};
///
/// #[derive(Debug)]
/// struct Error;
///
/// struct Timed;
///
/// impl AsyncExit for Timed {
///     type Error = Error;
///     async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
///         assert!(outcome.is_completed());
///         Ok(())
///     }
/// }
///
/// async fn timed() -> Result<Timed, Error> {
///     Ok(Timed)
/// }
///
/// #[tenure::within(timed())]
/// async fn double(n: u32) -> Result<u32, Error> {
///     Ok(n * 2)
/// }
///
/// # #[tenure::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// assert_eq!(double(4).await?, 8);
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn within(args: TokenStream, item: TokenStream) -> TokenStream {
    within::within(args.into(), item.into()).into()
}

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
