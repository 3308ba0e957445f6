//! The forms of a proof, written once for [`Proof`](crate::Proof) and [`PreparedProof`](crate::PreparedProof).

use std::sync::Arc;

use crate::enumeration::Enumeration;
use crate::settings::Settings;
use crate::{Leak, ProofOutput, Recorder, Report, Violation};

/// Which places a proof tries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Where {
    EachSuspension,
    OneSuspension(u64),
    EachPoint,
}

impl Where {
    pub(crate) fn enumerate<T, F, Fut>(
        self,
        settings: &Settings,
        runs: Enumeration<'_, T, F>,
    ) -> Result<Report, Box<Leak>>
    where
        T: Send + Sync + 'static,
        F: Fn(Recorder, Arc<T>) -> Fut,
        Fut: Future<Output: ProofOutput> + Send + 'static,
    {
        match self {
            Self::EachSuspension => runs.everywhere(&settings.cuts),
            Self::OneSuspension(at) => runs.at(at, &settings.cuts),
            Self::EachPoint => runs.everywhere(&settings.faults),
        }
    }
}

/// The leak that a control had to have.
///
/// # Panics
/// If there is none, or if it is not the doing of a cancellation.
#[track_caller]
pub(crate) fn expected(result: Result<Report, Box<Leak>>) -> Box<Leak> {
    let leak = match result {
        Ok(report) => panic!("expect_leak: nothing leaked, so the proof would not see a leak: {report}"),
        Err(leak) => leak,
    };
    let is_of_proof = |violation: &Violation| {
        matches!(
            violation,
            Violation::Endless { .. }
                | Violation::SetUpTimedOut { .. }
                | Violation::Failed(_)
                | Violation::Hung { .. }
        )
    };
    assert!(
        leak.suspension().is_some() && !leak.violations().iter().any(is_of_proof),
        "expect_leak: it fails, and not by a leak of a run that was cut: {leak}"
    );
    leak
}

/// The forms, for a `make` that takes these arguments.
macro_rules! forms {
    ($($argument:ty),+) => {
        /// Does what [`cancel_everywhere`](crate::cancel_everywhere) does, with these options.
        ///
        /// # Panics
        /// If something leaked, with the whole report; or with the panic of the future under test.
        #[track_caller]
        pub fn cancel_everywhere<F, Fut>(&self, make: F) -> Report
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            match self.try_cancel_everywhere(make) {
                Ok(report) => report,
                Err(leak) => panic!("cancel_everywhere: {leak}"),
            }
        }

        /// Does what [`cancel_everywhere`](Self::cancel_everywhere) does, and returns the leak.
        ///
        /// # Errors
        /// The first run in which something leaked.
        ///
        /// # Panics
        /// With the panic of the future under test, unless it was injected or is allowed.
        pub fn try_cancel_everywhere<F, Fut>(&self, make: F) -> Result<Report, Box<Leak>>
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            self.enumerate(make, $crate::forms::Where::EachSuspension, &mut std::ops::ControlFlow::Break)
        }

        /// Drops the future at one suspension only, in each way, on each flavour: to look again at a leak that
        /// [`cancel_everywhere`](Self::cancel_everywhere) has found. [`Report::cut`] says how many runs came there.
        ///
        /// # Errors
        /// The first run in which something leaked, or a suspension that no run came to.
        ///
        /// # Panics
        /// With the panic of the future under test, unless it was injected or is allowed.
        pub fn try_cancel_at<F, Fut>(&self, suspension: u64, make: F) -> Result<Report, Box<Leak>>
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            let place = $crate::forms::Where::OneSuspension(suspension);
            self.enumerate(make, place, &mut std::ops::ControlFlow::Break)
        }

        /// Does what [`fail_everywhere`](crate::fail_everywhere) does, with these options.
        ///
        /// # Panics
        /// If something leaked, with the whole report; or with the panic of the future under test.
        #[track_caller]
        pub fn fail_everywhere<F, Fut>(&self, make: F) -> Report
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            match self.try_fail_everywhere(make) {
                Ok(report) => report,
                Err(leak) => panic!("fail_everywhere: {leak}"),
            }
        }

        /// Does what [`fail_everywhere`](Self::fail_everywhere) does, and returns the leak.
        ///
        /// # Errors
        /// The first run in which something leaked.
        ///
        /// # Panics
        /// With the panic of the future under test, unless it was injected or is allowed.
        pub fn try_fail_everywhere<F, Fut>(&self, make: F) -> Result<Report, Box<Leak>>
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            self.enumerate(make, $crate::forms::Where::EachPoint, &mut std::ops::ControlFlow::Break)
        }

        /// Drops the future everywhere, as [`cancel_everywhere`](Self::cancel_everywhere) does, and goes on past each
        /// leak: a list of all of them, printed as a table or as JSON.
        ///
        /// # Panics
        /// With the panic of the future under test, unless it was injected or is allowed.
        pub fn survey<F, Fut>(&self, make: F) -> $crate::Survey
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            $crate::Survey::take(|on_leak| {
                self.enumerate(make, $crate::forms::Where::EachSuspension, on_leak)
            })
        }

        /// Fails the future everywhere, as [`fail_everywhere`](Self::fail_everywhere) does, and goes on past each
        /// leak.
        ///
        /// # Panics
        /// With the panic of the future under test, unless it was injected or is allowed.
        pub fn survey_faults<F, Fut>(&self, make: F) -> $crate::Survey
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            $crate::Survey::take(|on_leak| self.enumerate(make, $crate::forms::Where::EachPoint, on_leak))
        }

        /// Expects that the future leaks when it is dropped, and returns the first leak: for a control, a twin of
        /// the code under test that is known to leak. As long as it does, a proof with the same check says something.
        ///
        /// # Panics
        /// If nothing leaked; if the future or the check fails on a run that was not cut. With the panic of the
        /// future under test.
        #[track_caller]
        pub fn expect_leak<F, Fut>(&self, make: F) -> Box<Leak>
        where
            F: Fn($($argument),+) -> Fut,
            Fut: Future<Output: ProofOutput> + Send + 'static,
        {
            $crate::forms::expected(self.try_cancel_everywhere(make))
        }
    };
}

pub(crate) use forms;
