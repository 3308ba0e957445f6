//! [`ProofOutput`]: reads from what a future returned whether it did its work.

use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

/// The output of a future under test. It tells the harness whether the future did its work.
///
/// A run to which nothing was done and that fails all the same has tried nothing: a database that refused the
/// connection, a driver that timed out. Such a run fails the proof; see [`Proof::allow_errors`](crate::Proof::allow_errors).
///
/// It is implemented for `()`, for common values, and for `Result`, which is looked into at every level:
/// `Ok(Err(…))`, as a joined task returns it, is a failure. Of another value say yourself what it means:
///
/// ```
/// use tenure_test::{suspend, try_cancel_everywhere};
///
/// struct Status(u16);
///
/// async fn request() -> Status {
///     suspend(1).await;
///     Status(503)
/// }
///
/// let leak = try_cancel_everywhere(|_| async {
///     let Status(status) = request().await;
///     if status < 400 { Ok(()) } else { Err(format!("status {status}")) }
/// })
/// .unwrap_err();
/// assert!(leak.to_string().contains("status 503"));
/// ```
///
/// The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "the harness cannot tell whether `{Self}` is a success",
    label = "the future under test returns this",
    note = "return `()` or `Result<(), E>` with `E: Debug`: a value of another type is to be made into one of these"
)]
pub trait ProofOutput: sealed::Sealed {
    /// Returns the failure as text, or `None` if the future did its work.
    fn failure(&self) -> Option<String>;
}

impl<T: ProofOutput, E: Debug> sealed::Sealed for Result<T, E> {}

impl<T: ProofOutput, E: Debug> ProofOutput for Result<T, E> {
    fn failure(&self) -> Option<String> {
        match self {
            Ok(value) => value.failure(),
            Err(error) => Some(format!("{error:?}")),
        }
    }
}

impl<T: ProofOutput> sealed::Sealed for Option<T> {}

impl<T: ProofOutput> ProofOutput for Option<T> {
    fn failure(&self) -> Option<String> {
        self.as_ref().and_then(ProofOutput::failure)
    }
}

impl<T: ProofOutput> sealed::Sealed for Vec<T> {}

impl<T: ProofOutput> ProofOutput for Vec<T> {
    fn failure(&self) -> Option<String> {
        self.iter().find_map(ProofOutput::failure)
    }
}

macro_rules! behind_a_pointer {
    ($($pointer:ty),*) => {$(
        impl<T: ProofOutput + ?Sized> sealed::Sealed for $pointer {}

        impl<T: ProofOutput + ?Sized> ProofOutput for $pointer {
            fn failure(&self) -> Option<String> {
                T::failure(self)
            }
        }
    )*};
}

behind_a_pointer!(&T, Box<T>, Rc<T>, Arc<T>);

macro_rules! tuples {
    ($(($($name:ident),+)),*) => {$(
        impl<$($name: ProofOutput),+> sealed::Sealed for ($($name,)+) {}

        impl<$($name: ProofOutput),+> ProofOutput for ($($name,)+) {
            #[expect(non_snake_case, reason = "a variable for each type of the tuple")]
            fn failure(&self) -> Option<String> {
                let ($($name,)+) = self;
                None$(.or_else(|| $name.failure()))+
            }
        }
    )*};
}

tuples!((A), (A, B), (A, B, C), (A, B, C, D));

macro_rules! never_a_failure {
    ($($value:ty),*) => {$(
        impl sealed::Sealed for $value {}

        impl ProofOutput for $value {
            fn failure(&self) -> Option<String> {
                None
            }
        }
    )*};
}

never_a_failure!((), bool, char, str, String, f32, f64, Never);
never_a_failure!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

/// The type `!`, which stable Rust can name only as what a function returns: the output of a future that panics or
/// hangs in any case. It is why the trait is sealed: beside such an impl the compiler takes none of another crate.
type Never = <fn() -> ! as sealed::Returns>::Value;

mod sealed {
    pub trait Sealed {}

    pub trait Returns {
        type Value;
    }

    impl<T> Returns for fn() -> T {
        type Value = T;
    }
}
