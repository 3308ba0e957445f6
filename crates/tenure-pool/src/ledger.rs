//! What the lock of a pool protects, besides its waiters and slots: how many, since when, and whether.

use std::time::Duration;

use crate::clock::NEVER;
use crate::error::Cause;
use crate::home::Homes;
use crate::job::Jobs;

/// The accounts of a pool.
///
/// # Invariants
/// 1. `total` is the number of slots that are not vacant, and `creating`, `busy` and `closing` are parts of
///    it. It never exceeds `max_size` but by a resize, after which it only falls.
/// 2. `stuck` counts the slots with [`flag::STUCK`](crate::shared::flag::STUCK), which are of `creating` or `busy`.
/// 3. `opened` resources minus `closed` ones is `total - creating`.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) max_size: usize,
    pub(crate) total: usize,
    /// Slots whose resource is being created.
    pub(crate) creating: usize,
    /// Slots whose resource is checked or reset in the background, and will come back.
    pub(crate) busy: usize,
    /// Of `creating` and `busy`: those under way for so long that nobody should count on them.
    pub(crate) stuck: usize,
    /// Slots whose resource is being closed.
    pub(crate) closing: usize,
    pub(crate) paused: bool,
    pub(crate) closed: bool,
    /// Whether a close has come to its end, and said what it has left open.
    pub(crate) close_ended: bool,
    /// Creates that failed in a row, when the last one did and the next one may be tried, and the last error.
    pub(crate) failures: u32,
    pub(crate) failed_at: u64,
    pub(crate) retry_at: u64,
    pub(crate) last_error: Option<Cause>,
    /// Whether the manager called the last error permanent, or each one is to fail those who wait.
    pub(crate) fails_for_good: bool,
    /// How long the last create took that succeeded (nanoseconds).
    pub(crate) create_took: u64,
    /// How many times all were invalidated.
    pub(crate) generation: u64,
    /// The numbers given to resources.
    pub(crate) last_id: u64,
    /// The first deadline of a waiter, or an earlier moment: when upkeep has to look.
    pub(crate) next_expiry: u64,
    /// Since when every wait was longer than the target of the CoDel option; 0 if the last one was not.
    pub(crate) slow_since: u64,
    /// How many gets have waited.
    pub(crate) waits: u64,
    /// The runtimes the pool is used from.
    pub(crate) homes: Homes,
    /// When something was last lent or made otherwise than on the fast path (coarse).
    pub(crate) roused: u64,
    /// Since when the keepers are awake.
    pub(crate) awake_since: u64,
    /// What goes on in the background.
    pub(crate) jobs: Jobs,
    pub(crate) random: Random,
    /// The fewest that were idle at a tick of the present interval, and when it ends: what is never needed goes.
    pub(crate) fewest_idle: usize,
    pub(crate) shrink_at: u64,
}

impl Ledger {
    pub(crate) fn new(max_size: usize) -> Self {
        Self {
            max_size,
            total: 0,
            creating: 0,
            busy: 0,
            stuck: 0,
            closing: 0,
            paused: false,
            closed: false,
            close_ended: false,
            failures: 0,
            failed_at: 0,
            retry_at: 0,
            last_error: None,
            fails_for_good: false,
            create_took: 0,
            generation: 0,
            last_id: 0,
            next_expiry: NEVER,
            slow_since: 0,
            waits: 0,
            homes: Homes::default(),
            roused: 0,
            awake_since: 0,
            jobs: Jobs::default(),
            random: Random::new(),
            fewest_idle: usize::MAX,
            shrink_at: NEVER,
        }
    }

    /// The number of a new resource.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// How many are on their way, and can be counted on.
    pub(crate) fn supply(&self) -> usize {
        (self.creating + self.busy).saturating_sub(self.stuck)
    }

    /// Whether a create failed, and the next one is not due yet.
    pub(crate) fn is_pausing(&self, now: u64) -> bool {
        self.failures > 0 && self.retry_at > now
    }

    /// Whether more are alive than may be, those being closed aside.
    pub(crate) fn has_excess(&self) -> bool {
        self.total - self.closing > self.max_size
    }
}

/// A small generator of numbers that differ between pools and between calls; for jitter only.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    /// A number from 0 up to, not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_precision_loss, reason = "the 53 bits that are left fit")]
        let numerator = (self.0 >> 11) as f64;
        numerator / (1_u64 << 53) as f64
    }

    /// The duration less up to this share of it.
    pub(crate) fn shorten(&mut self, duration: Duration, share: f64) -> Duration {
        duration.mul_f64(1.0 - share * self.fraction())
    }

    /// The duration varied by up to this share of it either way.
    pub(crate) fn vary(&mut self, duration: Duration, share: f64) -> Duration {
        duration.mul_f64(1.0 + share * (2.0 * self.fraction() - 1.0))
    }
}
