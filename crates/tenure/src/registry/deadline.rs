//! When the exits on a runtime must have ended, once the process stops.
//!
//! # Invariants
//! 1. A deadline is taken back by whoever has set it, and by nobody else.

#[cfg(feature = "signal")]
use std::sync::Arc;

use tokio::time::Instant;

#[cfg(feature = "signal")]
use super::Registry;
use super::current;

/// Returns when the exits on the current runtime must have ended, or `None` while it does not stop.
///
/// A [`Run`](crate::Run) sets it when its stop begins: at the signal, at the request, or at the end of its body. It is the
/// end of [`exit_timeout`](crate::Run::exit_timeout), less what is reserved for shutting the runtime down. What has not
/// exited by then is given up.
///
/// For an exit that has a time limit of its own and resources behind it that need some time too, such as a server's. To be
/// told of a stop that begins during the exit, use [`wait_for_exit_deadline`].
///
/// ```
/// # #[cfg(feature = "signal")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tenure::{Closing, Held, Run, exit_deadline};
///
/// let run = Run::new().exit_timeout(Duration::from_secs(20)).until(std::future::ready(()));
/// let body = async {
///     let _held = Held::new(Closing::of((), async |()| {
///         let left = exit_deadline().expect("the process stops") - tokio::time::Instant::now();
///         assert!(left <= Duration::from_secs(19));
///         Ok::<_, std::io::Error>(())
///     }));
///     std::future::pending::<()>().await
/// };
/// assert_eq!(run.until_signal(body).await, std::process::ExitCode::SUCCESS);
/// assert_eq!(exit_deadline(), None);
/// # }
/// # #[cfg(not(feature = "signal"))] fn main() {}
/// ```
#[must_use]
pub fn exit_deadline() -> Option<Instant> {
    *current().deadline.subscribe().borrow()
}

/// Waits until the process begins to stop on the current runtime, and returns when its exits must have ended.
///
/// It never ends if no [`Run`](crate::Run) stops. See [`exit_deadline`].
///
/// # Cancel safety
/// Cancel safe.
pub async fn wait_for_exit_deadline() -> Instant {
    let mut deadline = current().deadline.subscribe();
    loop {
        if let Some(deadline) = *deadline.borrow_and_update() {
            return deadline;
        }
        if deadline.changed().await.is_err() {
            // The registry is gone, and with it whoever could stop.
            std::future::pending::<()>().await;
        }
    }
}

/// A deadline that has been set, until this is dropped.
#[cfg(feature = "signal")]
pub(crate) struct SetDeadline {
    registry: Arc<Registry>,
    deadline: Instant,
}

#[cfg(feature = "signal")]
impl SetDeadline {
    pub(crate) fn new(registry: Arc<Registry>, deadline: Instant) -> Self {
        registry.deadline.send_replace(Some(deadline));
        Self { registry, deadline }
    }
}

#[cfg(feature = "signal")]
impl Drop for SetDeadline {
    fn drop(&mut self) {
        self.registry.deadline.send_if_modified(|now| {
            let own = *now == Some(self.deadline);
            if own {
                *now = None;
            }
            own
        });
    }
}
