//! When the stages of leaving a server end: as it was set up, but within the time that the stop of the process leaves.
//!
//! # Invariants
//! 1. The stages keep their order: the lame duck time ends before the grace does, and that before the exits are cut off.
//! 2. From the moment at which the process's deadline is known, a quarter of the time to it is left for the exits of what was
//!    cut off, and for what exits behind the server.

use std::time::Duration;

use tenure::wait_for_exit_deadline;
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::Limits;
use crate::stall::after;

/// The stages of leaving, as their ends are known now.
#[derive(Debug)]
pub(super) struct Leaving {
    limits: Limits,
    began: Instant,
    /// When the process stops, and when that became known.
    deadline: Option<Deadline>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    known: Instant,
    end: Instant,
}

impl Deadline {
    /// When the grace ends at the latest.
    fn cut(self) -> Instant {
        self.known + self.end.saturating_duration_since(self.known) / 4 * 3
    }
}

impl Leaving {
    pub(super) fn begin(limits: Limits) -> Self {
        Self { limits, began: Instant::now(), deadline: None }
    }

    /// Waits until the lame duck time is over. Not cancel safe.
    pub(super) async fn lame_duck(&mut self) {
        if !self.limits.lame_duck.is_zero() {
            self.until(Self::lame_duck_end).await;
        }
    }

    /// Waits until the grace is over. Not cancel safe.
    pub(super) async fn grace(&mut self) {
        self.until(Self::grace_end).await;
    }

    /// Awaits the exits of what was cut off, within their time. Returns whether they have ended.
    pub(super) async fn cut(&self, ended: impl Future<Output = ()>) -> bool {
        timeout(self.cut_timeout(), ended).await.is_ok()
    }

    async fn until(&mut self, end: impl Fn(&Self) -> Instant) {
        if self.deadline.is_none() {
            tokio::select! {
                biased;
                deadline = wait_for_exit_deadline() => {
                    self.deadline = Some(Deadline { known: Instant::now(), end: deadline });
                }
                () = sleep_until(end(self)) => return,
            }
        }
        sleep_until(end(self)).await;
    }

    fn lame_duck_end(&self) -> Instant {
        let own = after(self.began, self.limits.lame_duck);
        match self.deadline {
            Some(deadline) if self.own_grace_end() > deadline.cut() => {
                own.min(deadline.known + deadline.cut().saturating_duration_since(deadline.known) / 2)
            }
            _ => own,
        }
    }

    fn own_grace_end(&self) -> Instant {
        after(after(self.began, self.limits.lame_duck), self.limits.grace_limit)
    }

    fn grace_end(&self) -> Instant {
        let own = after(self.lame_duck_end(), self.limits.grace_limit);
        self.deadline.map_or(own, |deadline| own.min(deadline.cut()))
    }

    fn cut_timeout(&self) -> Duration {
        let own = self.limits.cut_timeout;
        let left = |deadline: Deadline| deadline.end.saturating_duration_since(Instant::now()) / 2;
        self.deadline.map_or(own, |deadline| own.min(left(deadline)))
    }
}
