//! The check of the user's own: called once, or until it is true, or for as long as it has to stay true.
//!
//! # Invariants
//! 1. Each call has a limit in real time, `check_timeout`; the calls together have `check_within` and `check_for`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fault::panic_message;
use crate::limited::limited;
use crate::settings::Settings;
use crate::{Run, Violation};

/// The first pause between two calls; it doubles with each call that fails.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// The longest pause between two calls.
const PAUSE_MAX: Duration = Duration::from_millis(100);

pub(crate) type Checking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
pub(crate) type Check<T> = Box<dyn Fn(Run, Arc<T>) -> Checking + Send + Sync>;

/// Checks the run, and says what is wrong.
pub(crate) async fn check<T>(
    settings: &Settings,
    check: &Check<T>,
    run: &Run,
    state: &Arc<T>,
) -> Option<Violation> {
    let is_real = run.flavour().is_real(settings.clock);
    let begun = Instant::now();
    let mut true_since = None;
    let mut pause = PAUSE_FIRST;
    loop {
        match call(settings, check, run, state, is_real).await {
            Ok(Ok(())) => {
                let since = *true_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= settings.check_for {
                    return None;
                }
                pause = PAUSE_FIRST;
            }
            Ok(Err(text)) if begun.elapsed() >= settings.check_within => {
                return Some(Violation::Check(with_times(settings, text, true_since)));
            }
            Ok(Err(_)) => {
                true_since = None;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(violation) => return Some(violation),
        }
        sleep(pause).await;
    }
}

/// The complaint, and what the limits made of it.
fn with_times(settings: &Settings, text: String, true_since: Option<Instant>) -> String {
    if true_since.is_some() {
        format!("{text} (true at first, and not for {:?})", settings.check_for)
    } else if settings.check_within > Duration::ZERO {
        format!("{text} (not true within {:?})", settings.check_within)
    } else {
        text
    }
}

/// One call, in a task, which catches the panic of a failed assertion.
async fn call<T>(
    settings: &Settings,
    check: &Check<T>,
    run: &Run,
    state: &Arc<T>,
    is_real: bool,
) -> Result<Result<(), String>, Violation> {
    let checking = match catch_unwind(AssertUnwindSafe(|| check(run.clone(), Arc::clone(state)))) {
        Ok(checking) => checking,
        Err(payload) => return Ok(Err(panic_message(&*payload).to_owned())),
    };
    let limit = settings.check_timeout;
    match limited(tokio::spawn(checking), limit, is_real).await {
        Ok(Ok(checked)) => Ok(checked),
        Ok(Err(error)) => Ok(Err(match error.try_into_panic() {
            Ok(payload) => panic_message(&*payload).to_owned(),
            Err(error) => error.to_string(),
        })),
        Err(_) => Err(Violation::CheckTimedOut { limit }),
    }
}
