//! The two kinds of exit, as one to the state machine.

use std::fmt::Debug;

use super::core::Says;
use crate::exit::StopBody;
use crate::{AsyncExit, Outcome, RecoverExit, Verdict};

/// A resource with its kind of exit.
pub(crate) trait Leave: Send + 'static {
    type Resource;
    type Error: Debug + Send + 'static;
    type Verdict: Says + Send + 'static;

    /// That of [`RecoverExit`].
    const FAILS_AFTER_RECOVERY: bool;

    fn of(resource: Self::Resource) -> Self;
    fn resource(&mut self) -> &mut Self::Resource;
    fn leave(self, outcome: Outcome<'_>) -> impl Future<Output = Result<Self::Verdict, Self::Error>> + Send;

    /// By which the resource may stop the body.
    fn stop_body(&self) -> Option<StopBody>;

    /// What an exit of this kind says of the body's error.
    fn said(verdict: Self::Verdict) -> Verdict;
}

pub(crate) struct Plain<R>(R);

impl<R: AsyncExit> Leave for Plain<R> {
    type Resource = R;
    type Error = R::Error;
    type Verdict = ();

    const FAILS_AFTER_RECOVERY: bool = false;

    fn of(resource: R) -> Self {
        Self(resource)
    }

    fn resource(&mut self) -> &mut R {
        &mut self.0
    }

    fn leave(self, outcome: Outcome<'_>) -> impl Future<Output = Result<(), R::Error>> + Send {
        self.0.exit(outcome)
    }

    #[inline]
    fn stop_body(&self) -> Option<StopBody> {
        self.0.stop_body()
    }

    fn said((): ()) -> Verdict {
        Verdict::Propagate
    }
}

pub(crate) struct Recovering<R>(R);

impl<R: RecoverExit> Leave for Recovering<R> {
    type Resource = R;
    type Error = R::Error;
    type Verdict = Verdict;

    const FAILS_AFTER_RECOVERY: bool = R::FAILS_AFTER_RECOVERY;

    fn of(resource: R) -> Self {
        Self(resource)
    }

    fn resource(&mut self) -> &mut R {
        &mut self.0
    }

    fn leave(self, outcome: Outcome<'_>) -> impl Future<Output = Result<Verdict, R::Error>> + Send {
        self.0.exit(outcome)
    }

    #[inline]
    fn stop_body(&self) -> Option<StopBody> {
        self.0.stop_body()
    }

    fn said(verdict: Verdict) -> Verdict {
        verdict
    }
}
