//! [`Sequencer`]: an explicit order for concurrent steps.
//!
//! # Invariants
//! 1. Turn `n` begins only after every turn below `n` has ended.
//! 2. Each turn is taken at most once.
//! 3. A turn whose taker was dropped while it waited breaks the sequence: later takers panic instead of
//!    waiting for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Puts steps of concurrent futures and tasks in order, without sleeping.
///
/// Clones share the order. A turn ends when its guard is dropped.
///
/// ```
/// use tenure_test::{Recorder, Sequencer, paused};
///
/// let recorder = Recorder::new();
/// let sequence = Sequencer::new();
/// paused().block_on(async {
///     let (notes, turns) = (recorder.clone(), sequence.clone());
///     let other = tokio::spawn(async move {
///         let _turn = turns.turn(1).await;
///         notes.note("second");
///     });
///     let first = sequence.turn(0).await;
///     recorder.note("first");
///     drop(first);
///     let _third = sequence.turn(2).await;
///     recorder.note("third");
///     other.await
/// })?;
/// recorder.trace().assert_exactly(["first", "second", "third"]);
/// # Ok::<(), tokio::task::JoinError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequencer {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    taken: BTreeSet<u64>,
    broken: Option<u64>,
}

impl Default for Sequencer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequencer {
    /// Creates a sequence whose first turn is 0.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Waits until every earlier turn has ended.
    ///
    /// # Panics
    /// If the turn was taken before, or if an earlier one was given up by a taker that was dropped.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it breaks the sequence: a wait for a later turn panics.
    pub async fn turn(&self, turn: u64) -> Turn {
        let is_new = self.state.send_if_modified(|state| state.taken.insert(turn));
        assert!(is_new, "turn {turn} of the sequence was taken before");
        let mut guard = Turn { state: Arc::clone(&self.state), turn, begun: false };
        let mut changes = self.state.subscribe();
        let reached = changes.wait_for(|state| state.next == turn || state.broken.is_some()).await;
        let broken = reached.map_or(None, |state| state.broken);
        assert!(
            broken.is_none(),
            "turn {turn} of the sequence will not come: turn {} was dropped before it began",
            broken.unwrap_or_default()
        );
        guard.begun = true;
        guard
    }
}

/// A turn of a [`Sequencer`]; the next begins when it is dropped.
#[derive(Debug)]
#[must_use = "the turn ends at once if it is not kept"]
pub struct Turn {
    state: Arc<watch::Sender<State>>,
    turn: u64,
    begun: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (turn, begun) = (self.turn, self.begun);
        self.state.send_modify(|state| {
            if begun {
                state.next = turn + 1;
            } else {
                state.broken.get_or_insert(turn);
            }
        });
    }
}
