//! What is known of the members, and what follows from it. Plain data, without a clock or a server of its own.
//!
//! # Invariants
//! 1. The primary is a member that is up and has said that it is the primary.
//! 2. A member that is suspected has no role until it has been asked again, so that nothing is routed to it by that role.
//! 3. What a member answers to a question that was asked before it was suspected or evicted is passed over.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Role;

/// The members that serve the reads of a [`ReplicatedPool`](super::ReplicatedPool).
///
/// The only member of a pool serves both ends, whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadsFrom {
    /// Replicas alone, so that reads never add to the load of the primary. Without a replica, reads fail.
    #[default]
    Replicas,
    /// Replicas, and the primary while there is none.
    ReplicasFirst,
    /// All members in turn.
    All,
}

/// What a member has to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Read(ReadsFrom),
    Write,
}

/// What came of asking a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Role(Role),
    /// It could not be asked, such as because all its connections are in use: nothing is known but what was known.
    NoNews,
    /// It could not be reached, or did not answer.
    Unreachable,
}

/// How long after a failed use it is asked for the roles again: at most once in so long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// A moment so long after another one, or as long as can be said.
pub(super) fn far(from: Instant, limit: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    from + limit.min(NEVER)
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    role: Option<Role>,
    is_evicted: bool,
    /// Counts what was learnt of it other than by a round.
    turn: u64,
    /// The last role it has had, to see a change over an eviction or a doubt.
    last: Option<Role>,
}

/// The state.
#[derive(Debug)]
pub(super) struct Board {
    known: Vec<Known>,
    primary: Option<usize>,
    /// The last primary there was.
    last_primary: Option<usize>,
    next_read: usize,
    /// The round that is under way: until when it has ended at the latest.
    round: Option<Instant>,
    ended: Option<Instant>,
}

/// What follows from a round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Those whose connections are to be replaced.
    pub(super) replaced: Vec<usize>,
    /// `true` if another member has become the primary.
    pub(super) is_failover: bool,
}

impl Board {
    pub(super) fn new(members: usize) -> Self {
        Self {
            known: vec![Known::default(); members],
            primary: None,
            last_primary: None,
            next_read: 0,
            round: None,
            ended: None,
        }
    }

    pub(super) fn primary(&self) -> Option<usize> {
        self.primary
    }

    /// The role of each member, and whether it is evicted.
    pub(super) fn known(&self) -> Vec<(Option<Role>, bool)> {
        self.known.iter().map(|known| (known.role, known.is_evicted)).collect()
    }

    /// Returns `true` if a member serves.
    pub(super) fn fits(&self, member: usize, fit: Fit) -> bool {
        let is_replica = |known: &Known| !known.is_evicted && known.role == Some(Role::Replica);
        let is_primary = self.primary == Some(member);
        match fit {
            Fit::Write => is_primary,
            Fit::Read(_) if is_replica(&self.known[member]) => true,
            Fit::Read(ReadsFrom::All) => is_primary,
            Fit::Read(ReadsFrom::ReplicasFirst) => is_primary && !self.known.iter().any(is_replica),
            Fit::Read(ReadsFrom::Replicas) => is_primary && self.known.len() == 1,
        }
    }

    /// Chooses a member: those that serve reads take turns.
    pub(super) fn choose(&mut self, fit: Fit) -> Option<usize> {
        if fit == Fit::Write {
            return self.primary;
        }
        let count = self.known.len();
        let chosen = (0..count).map(|step| (self.next_read + step) % count).find(|&at| self.fits(at, fit))?;
        self.next_read = (chosen + 1) % count;
        Some(chosen)
    }

    /// A member could not be reached.
    pub(super) fn evict(&mut self, member: usize) {
        self.forget(member);
        self.known[member].is_evicted = true;
    }

    /// A member has to be asked again before anything is routed to it: it has refused what its role has to allow.
    pub(super) fn suspect(&mut self, member: usize) {
        self.forget(member);
    }

    fn forget(&mut self, member: usize) {
        let known = &mut self.known[member];
        known.role = None;
        known.turn += 1;
        if self.primary == Some(member) {
            self.primary = None;
        }
    }

    /// Begins a round, if none is under way; tells when it may ask. A round that has not ended within `limit` is given up:
    /// its runtime is gone, or is not driven.
    pub(super) fn begin_round(&mut self, now: Instant, limit: Duration) -> Option<Instant> {
        if self.round.is_some_and(|until| now < until) {
            return None;
        }
        let at = self.ended.map_or(now, |ended| now.max(ended + PAUSE));
        self.round = Some(at + limit);
        Some(at)
    }

    /// What is to be given to [`end_round`](Self::end_round) with the answers.
    pub(super) fn turns(&self) -> Vec<u64> {
        self.known.iter().map(|known| known.turn).collect()
    }

    /// Returns `true` if the last round was longer ago than this.
    pub(super) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        self.ended.is_none_or(|ended| now.saturating_duration_since(ended) >= interval)
    }

    /// Returns `true` if it may be asked again after a failed use.
    pub(super) fn is_due_after_failure(&self, now: Instant) -> bool {
        self.is_due(now, AFTER_FAILURE)
    }

    /// A round has ended without an answer.
    pub(super) fn give_up_round(&mut self, now: Instant) {
        (self.round, self.ended) = (None, Some(now));
    }

    /// Takes in the answers of a round.
    pub(super) fn end_round(&mut self, now: Instant, turns: &[u64], answers: &[Answer]) -> Changes {
        self.give_up_round(now);
        let mut changes = Changes::default();
        for (member, (known, (&turn, answer))) in
            self.known.iter_mut().zip(turns.iter().zip(answers)).enumerate()
        {
            if known.turn != turn {
                continue;
            }
            match *answer {
                Answer::NoNews => {}
                Answer::Unreachable => (known.role, known.is_evicted) = (None, true),
                Answer::Role(role) => {
                    if known.last.is_some_and(|last| last != role) {
                        changes.replaced.push(member);
                    }
                    known.last = Some(role);
                    (known.role, known.is_evicted) = (Some(role), role == Role::Unfit);
                }
            }
        }
        let is_primary = |known: &Known| known.role == Some(Role::Primary);
        let present = self.primary.or(self.last_primary).filter(|&at| is_primary(&self.known[at]));
        self.primary = present.or_else(|| self.known.iter().position(is_primary));
        if self.primary.is_some() {
            changes.is_failover = self.last_primary.is_some() && self.last_primary != self.primary;
            self.last_primary = self.primary;
        }
        changes
    }
}
