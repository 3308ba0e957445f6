//! Shedding by queue delay: a queue that stands is cut, one that absorbs a burst is not.

use std::task::Waker;

use crate::clock::nanos;
use crate::manager::Manager;
use crate::shared::Locked;
use crate::wait::FAILED_SHED;

/// Looks at how long the first in the queue has waited, and fails those who have waited for far too long if it
/// has been so for an interval. To be called before somebody is served, and now and then.
pub(crate) fn shed<M: Manager>(locked: &mut Locked<'_, M>) -> Vec<Waker> {
    let ext = &locked.core().ext;
    let (Some(codel), Some(first)) = (ext.config.codel, locked.queue.first()) else {
        return Vec::new();
    };
    let now = ext.clock.now();
    let (target, interval) = (nanos(codel.target), nanos(codel.interval));
    if now.saturating_sub(first.since) < target {
        locked.state.slow_since = 0;
        return Vec::new();
    }
    if locked.state.slow_since == 0 {
        locked.state.slow_since = now.max(1);
    }
    if now - locked.state.slow_since < interval {
        return Vec::new();
    }
    let latest = now.saturating_sub(target.saturating_mul(2));
    let wakers = locked.queue.fail_where(|entry| (entry.since < latest).then_some(FAILED_SHED));
    locked.settle();
    wakers
}
