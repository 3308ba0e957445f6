//! The cheapest resource there is, so that what is measured is what lies around it.

use std::hint::black_box;

use tenure::{AsyncExit, ExitErrors, NeverLent, Outcome, RecoverExit, Verdict};

/// The error in which all operations meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble(
    /// Which trouble.
    pub u64,
);

impl From<NeverLent> for Trouble {
    fn from(_: NeverLent) -> Self {
        Self(u64::MAX)
    }
}

impl From<ExitErrors<Trouble>> for Trouble {
    fn from(_: ExitErrors<Trouble>) -> Self {
        Self(u64::MAX)
    }
}

/// One word, entered and exited without waiting; the optimiser sees through neither.
#[derive(Debug)]
pub struct Resource(
    /// The word.
    pub u64,
);

/// Enters a [`Resource`].
///
/// # Errors
/// None.
pub async fn enter(number: u64) -> Result<Resource, Trouble> {
    black_box(Ok(Resource(number)))
}

impl AsyncExit for Resource {
    type Error = Trouble;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Trouble> {
        black_box((self.0, outcome.is_completed()));
        black_box(Ok(()))
    }
}

/// The same with an exit that says whether the error goes on.
#[derive(Debug)]
pub struct Recovering(
    /// The resource.
    pub Resource,
);

impl RecoverExit for Recovering {
    type Error = Trouble;

    async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, Trouble> {
        AsyncExit::exit(self.0, outcome).await?;
        Ok(black_box(Verdict::Recover))
    }
}

/// A body that uses the resource and completes.
///
/// # Errors
/// None.
pub async fn complete(resource: &mut Resource) -> Result<u64, Trouble> {
    resource.0 = black_box(resource.0 + 1);
    black_box(Ok(resource.0))
}

/// A body that uses the resource and fails.
///
/// # Errors
/// Always.
pub async fn fail(resource: &mut Resource) -> Result<u64, Trouble> {
    resource.0 = black_box(resource.0 + 1);
    black_box(Err(Trouble(resource.0)))
}

/// A body that waits once, for nothing but its turn, and completes.
///
/// # Errors
/// None.
pub async fn wait_once(resource: &mut Resource) -> Result<u64, Trouble> {
    suspend_once().await;
    complete(resource).await
}

/// Suspends once, and wakes its task at once: the cheapest suspension there is.
pub async fn suspend_once() {
    let mut suspended = false;
    std::future::poll_fn(|context| {
        if suspended {
            return std::task::Poll::Ready(());
        }
        suspended = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
