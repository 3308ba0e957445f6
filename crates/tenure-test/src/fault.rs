//! What goes wrong on purpose: [`Fault`], the error that is injected, and [`panic_quietly`].

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::Stopped;

/// How every injected panic's message begins; it tells them from a failed assertion.
const PANIC_PREFIX: &str = "injected panic: ";

/// An error made for a test: injected by the harness, or made by hand for a body to fail with.
///
/// Every `Fault` is itself and no other: clones are equal, two faults with the same text are not. So a test can
/// say that *that very* error came out.
///
/// ```
/// use tenure_test::Fault;
///
/// let fault = Fault::new("the card is stolen");
/// assert_eq!(fault, fault.clone());
/// assert_ne!(fault, Fault::new("the card is stolen"));
/// assert_eq!(format!("{fault:?}"), "the card is stolen");
/// ```
#[derive(Clone)]
pub struct Fault {
    message: Arc<str>,
    serial: u64,
    location: &'static Location<'static>,
}

impl Fault {
    /// Creates an error, unequal to every other.
    #[must_use]
    #[track_caller]
    pub fn new(message: impl AsRef<str>) -> Self {
        Self::at(message.as_ref(), Location::caller())
    }

    pub(crate) fn at(message: &str, location: &'static Location<'static>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            message: message.into(),
            // Relaxed: only the uniqueness of the number matters.
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            location,
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the place where the fault was made, or the step in which it was injected.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// As short as `Display`: outcomes print errors with `Debug`, and a trace has to stay readable.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Fault {}

// What the hub's time limits, tokens and guards ask of an error type.
impl From<Stopped> for Fault {
    #[track_caller]
    fn from(stopped: Stopped) -> Self {
        Self::new(stopped.to_string())
    }
}

/// The kinds of fault that [`fail_everywhere`](crate::fail_everywhere) injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The step fails with a [`Fault`].
    Error,
    /// The step panics, as [`panic_quietly`] does.
    Panic,
    /// The step never ends. The future is dropped once it is seen to hang.
    Hang,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Hang => "hang",
        })
    }
}

/// Panics without a word on standard error, with a message that the harness knows as meant.
///
/// A proof lets such panics pass; any other panic of the future under test, a failed assertion for example,
/// fails the proof. The payload is a `String`: `injected panic: ` and the message.
///
/// # Panics
/// Always.
pub fn panic_quietly(message: impl fmt::Display) -> ! {
    // Not `panic!`: its hook would print a backtrace for each of hundreds of runs.
    resume_unwind(Box::new(format!("{PANIC_PREFIX}{message}")))
}

/// The text of a panic's payload.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else {
        "a panic whose payload is no text"
    }
}

/// Whether a panic was meant.
pub(crate) fn is_injected(payload: &(dyn Any + Send)) -> bool {
    panic_message(payload).starts_with(PANIC_PREFIX)
}
