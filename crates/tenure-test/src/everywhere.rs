//! The proofs with the default options, as functions.

use crate::{Leak, Proof, Recorder, Report};

/// Runs a future again and again, each time on a fresh runtime, and drops it at its 0th, 1st, 2nd … suspension
/// until it completes. After each run it drains the runtime and checks that whatever was entered was exited,
/// exactly once, to its end, inner before outer, and that nothing is held.
///
/// A suspension is a poll that returned `Pending`; the 0th is before the first poll. Each is tried on both
/// flavours of the runtime and in all the ways of [`CancelBy`]. On the current-thread flavour the clock is
/// paused; code that waits for sockets needs [`Proof::real_clock`].
///
/// Aim it at your own code. Below, a transfer between two accounts is to be all or nothing:
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// # use tenure::{AsyncExit, Outcome};
/// use tenure_test::{Fault, Proof, Recorder, cancel_everywhere};
///
/// # struct Bank { accounts: Mutex<[i64; 2]> }
/// async fn transfer(bank: Arc<Bank>, recorder: Recorder) -> Result<(), Fault> {
///     let (from, to) = (0, 1);
///     recorder.at("read the balance", tokio::task::yield_now()).await;
///     let mut accounts = bank.accounts.lock().unwrap();
///     accounts[from] -= 10;
///     accounts[to] += 10;
///     Ok(())
/// }
///
/// let bank = Arc::new(Bank { accounts: Mutex::new([100, 0]) });
/// let bank_to_check = Arc::clone(&bank);
/// let report = Proof::new()
///     .check(move |_run| {
///         let sum: i64 = bank_to_check.accounts.lock().unwrap().iter().sum();
///         async move { if sum == 100 { Ok(()) } else { Err(format!("{sum} instead of 100")) } }
///     })
///     .cancel_everywhere(|recorder| transfer(Arc::clone(&bank), recorder));
/// assert!(report.suspensions >= 1);
/// ```
///
/// What fails says where: the number of the suspension, the labelled step and the line of the await in which the
/// future stood, what leaked and where it was entered, and the trace of the run.
///
/// # Panics
/// If something leaked. With the panic of the future under test, if it panics; see [`Proof::allow_panics`].
#[track_caller]
pub fn cancel_everywhere<F, Fut>(make: F) -> Report
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    Proof::new().cancel_everywhere(make)
}

/// As [`cancel_everywhere`], and returns the leak.
///
/// # Errors
/// The first run in which something leaked.
///
/// # Panics
/// With the panic of the future under test, if it panics.
pub fn try_cancel_everywhere<F, Fut>(make: F) -> Result<Report, Box<Leak>>
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    Proof::new().try_cancel_everywhere(make)
}

/// Runs a future again and again, and lets its 0th, 1st, 2nd … fault point fail, then panic, until a run has no
/// more of them. After each run it checks what [`cancel_everywhere`] checks.
///
/// Fault points are the polls of the enters and exits of recorded resources, [`Recorder::step`] and
/// [`Recorder::point`]. The injected error is a [`Fault`](crate::Fault): the error type of the code under test
/// needs a `From<Fault>`, or is `Fault` itself.
///
/// For pairs of faults, see [`Proof::pairs`]; for faults and cancellation, [`Proof::and_cancel`].
///
/// # Panics
/// As [`cancel_everywhere`].
#[track_caller]
pub fn fail_everywhere<F, Fut>(make: F) -> Report
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    Proof::new().fail_everywhere(make)
}

/// As [`fail_everywhere`], and returns the leak.
///
/// # Errors
/// The first run in which something leaked.
///
/// # Panics
/// With the panic of the future under test, if it panics by itself.
pub fn try_fail_everywhere<F, Fut>(make: F) -> Result<Report, Box<Leak>>
where
    F: Fn(Recorder) -> Fut,
    Fut: Future + Send + 'static,
{
    Proof::new().try_fail_everywhere(make)
}
