//! The proofs with the default options, as functions.

use crate::{Leak, Proof, ProofOutput, Recorder, Report};

/// Runs a future again and again, each time on a fresh runtime, and drops it at its 0th, 1st, 2nd … suspension
/// until it completes. After each run it drains the runtime and checks that whatever was entered was exited,
/// exactly once, to its end, inner before outer, and that nothing is held.
///
/// A suspension is a poll that returned `Pending`; the 0th is before the first poll. Each is tried on both
/// flavours of the runtime and in all the ways of [`CancelBy`](crate::CancelBy). On the current-thread flavour the clock is
/// paused; code that waits for sockets needs [`Proof::real_clock`].
///
/// Aim it at your own code. Below, the money that a transfer has taken is nowhere while the other bank is asked: the
/// first version loses it when it is dropped there, the second puts it back.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tenure::{AsyncExit, Outcome, with};
/// use tenure_test::{Fault, Proof};
///
/// #[derive(Clone)]
/// struct Bank { accounts: Arc<Mutex<[i64; 2]>> }
///
/// impl Bank {
///     fn add(&self, account: usize, amount: i64) {
///         self.accounts.lock().unwrap()[account] += amount;
///     }
///
///     async fn ask_the_other_bank(&self) -> Result<(), Fault> {
///         tokio::task::yield_now().await;
///         Ok(())
///     }
///
///     async fn transfer_carelessly(self) -> Result<(), Fault> {
///         self.add(0, -10);
///         self.ask_the_other_bank().await?;
///         self.add(1, 10);
///         Ok(())
///     }
///
///     async fn withdraw(self) -> Result<Withdrawn, Fault> {
///         self.add(0, -10);
///         Ok(Withdrawn { bank: self })
///     }
///
///     async fn transfer(self) -> Result<(), Fault> {
///         with(self.withdraw(), async |money| money.bank.ask_the_other_bank().await).await
///     }
/// }
///
/// struct Withdrawn { bank: Bank }
///
/// impl AsyncExit for Withdrawn {
///     type Error = Fault;
///
///     async fn exit(self, outcome: Outcome<'_>) -> Result<(), Fault> {
///         self.bank.add(if outcome.is_completed() { 1 } else { 0 }, 10);
///         Ok(())
///     }
/// }
///
/// let bank = Bank { accounts: Arc::new(Mutex::new([100, 0])) };
/// let accounts = Arc::clone(&bank.accounts);
/// let proof = Proof::new().check(move |_run| {
///     // Every run begins with 100 again.
///     let sum: i64 = std::mem::replace(&mut *accounts.lock().unwrap(), [100, 0]).iter().sum();
///     async move { if sum == 100 { Ok(()) } else { Err(format!("{sum} of 100 are left")) } }
/// });
///
/// let leak = proof.try_cancel_everywhere(|_| bank.clone().transfer_carelessly()).unwrap_err();
/// assert_eq!(leak.suspension(), Some(1));
/// assert!(leak.to_string().contains("90 of 100 are left"));
///
/// let report = proof.cancel_everywhere(|_| bank.clone().transfer());
/// assert_eq!(report.suspensions, 1);
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
    Fut: Future<Output: ProofOutput> + Send + 'static,
{
    Proof::new().cancel_everywhere(make)
}

/// Runs the same proof as [`cancel_everywhere`], and returns the leak.
///
/// # Errors
/// The first run in which something leaked.
///
/// # Panics
/// With the panic of the future under test, if it panics.
pub fn try_cancel_everywhere<F, Fut>(make: F) -> Result<Report, Box<Leak>>
where
    F: Fn(Recorder) -> Fut,
    Fut: Future<Output: ProofOutput> + Send + 'static,
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
    Fut: Future<Output: ProofOutput> + Send + 'static,
{
    Proof::new().fail_everywhere(make)
}

/// Runs the same proof as [`fail_everywhere`], and returns the leak.
///
/// # Errors
/// The first run in which something leaked.
///
/// # Panics
/// With the panic of the future under test, if it panics by itself.
pub fn try_fail_everywhere<F, Fut>(make: F) -> Result<Report, Box<Leak>>
where
    F: Fn(Recorder) -> Fut,
    Fut: Future<Output: ProofOutput> + Send + 'static,
{
    Proof::new().try_fail_everywhere(make)
}
