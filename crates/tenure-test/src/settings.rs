//! [`Settings`]: the options of a proof, as the runs read them.
//!
//! # Invariants
//! 1. Everything that waits, retries or is enumerated has a limit here, and each limit has a setter of
//!    [`Proof`](crate::Proof).

use std::time::Duration;

use crate::enumeration::Trouble;
use crate::runtime::Clock;
use crate::{CancelBy, FaultKind, Flavour};

/// The default of `max_steps`.
const STEPS_MAX: u64 = 1_000;
/// The default of `max_short_runs`.
const SHORT_RUNS_MAX: u32 = 3;
/// The default of `hang_limit`, in milliseconds.
const HANG_LIMIT_MILLISECONDS: u64 = 100;
/// The default of `run_limit` and `drain_limit` in real time, in seconds.
const REAL_LIMIT_SECONDS: u64 = 5;
/// The same under a paused clock, where waiting costs nothing, in seconds.
const PAUSED_LIMIT_SECONDS: u64 = 24 * 60 * 60;
/// The default of `check_timeout`, in seconds.
const CHECK_TIMEOUT_SECONDS: u64 = 10;
/// The default of `set_up_timeout`, in seconds.
const SET_UP_TIMEOUT_SECONDS: u64 = 30;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) flavours: Vec<Flavour>,
    pub(crate) clock: Clock,
    pub(crate) cuts: Vec<Trouble>,
    pub(crate) faults: Vec<Trouble>,
    pub(crate) pairs: bool,
    pub(crate) and_cancel: bool,
    pub(crate) suspend_often: bool,
    pub(crate) repeat: u32,
    pub(crate) max_steps: u64,
    pub(crate) max_short_runs: u32,
    pub(crate) min_suspensions: u64,
    pub(crate) min_points: u64,
    pub(crate) run_limit: Option<Duration>,
    pub(crate) hang_limit: Duration,
    pub(crate) drain_limit: Option<Duration>,
    pub(crate) set_up_timeout: Duration,
    pub(crate) check_timeout: Duration,
    pub(crate) check_within: Duration,
    pub(crate) check_for: Duration,
    pub(crate) allow_errors: bool,
    pub(crate) allow_hang: bool,
    pub(crate) allow_panics: bool,
    pub(crate) allow_cut_exits: bool,
    pub(crate) unordered: bool,
    pub(crate) library_frames: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flavours: Flavour::ALL.to_vec(),
            clock: Clock::Paused,
            cuts: CancelBy::ALL.map(Trouble::Cut).to_vec(),
            faults: [FaultKind::Error, FaultKind::Panic].map(Trouble::Fault).to_vec(),
            pairs: false,
            and_cancel: false,
            suspend_often: false,
            repeat: 1,
            max_steps: STEPS_MAX,
            max_short_runs: SHORT_RUNS_MAX,
            min_suspensions: 1,
            min_points: 1,
            run_limit: None,
            hang_limit: Duration::from_millis(HANG_LIMIT_MILLISECONDS),
            drain_limit: None,
            set_up_timeout: Duration::from_secs(SET_UP_TIMEOUT_SECONDS),
            check_timeout: Duration::from_secs(CHECK_TIMEOUT_SECONDS),
            check_within: Duration::ZERO,
            check_for: Duration::ZERO,
            allow_errors: false,
            allow_hang: false,
            allow_panics: false,
            allow_cut_exits: false,
            unordered: false,
            library_frames: false,
        }
    }
}

impl Settings {
    pub(crate) fn run_limit(&self, is_real: bool) -> Duration {
        self.run_limit.unwrap_or(default_limit(is_real))
    }

    pub(crate) fn drain_limit(&self, is_real: bool) -> Duration {
        self.drain_limit.unwrap_or(default_limit(is_real))
    }
}

fn default_limit(is_real: bool) -> Duration {
    Duration::from_secs(if is_real { REAL_LIMIT_SECONDS } else { PAUSED_LIMIT_SECONDS })
}
