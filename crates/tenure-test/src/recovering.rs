//! [`Recovering`]: a recorded resource whose exit may recover from the body's error.

use tenure::{Outcome, RecoverExit, Verdict};

use crate::{Entering, Fault, Recorded, Resource, Seen};

/// A context that enters a [`Recovering`] resource: what [`Resource::recovering`] returns.
#[derive(Clone, Debug)]
#[must_use = "a resource that is not awaited or given to `with_recovering` is never entered"]
pub struct RecoveringResource {
    resource: Resource,
    verdict: Verdict,
}

impl RecoveringResource {
    pub(crate) fn new(resource: Resource, verdict: Verdict) -> Self {
        Self { resource, verdict }
    }
}

impl IntoFuture for RecoveringResource {
    type Output = Result<Recovering, Fault>;
    type IntoFuture = Entering<Recovering>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { resource, verdict } = self;
        Entering::new(async move {
            let recorded = resource.await?;
            Ok(Recovering { recorded, verdict })
        })
    }
}

/// A [`Recorded`] resource with a [`RecoverExit`] in the place of its `AsyncExit`.
#[derive(Debug)]
#[must_use = "dropped without its exit, it is recorded as leaked"]
pub struct Recovering {
    recorded: Recorded,
    verdict: Verdict,
}

impl RecoverExit for Recovering {
    type Error = Fault;

    async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, Fault> {
        let seen = Seen::from(outcome);
        let fault = outcome.error::<Fault>().cloned();
        self.recorded.leave(seen, fault).await?;
        Ok(self.verdict)
    }
}
