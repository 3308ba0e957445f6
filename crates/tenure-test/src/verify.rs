//! The laws, checked on a trace: each [`Violation`] is one that was broken.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::{CancelBy, Event, EventKind};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A resource was entered and its exit never began.
    NeverExited(Who),
    /// An exit began more than once.
    ExitedTwice(Who),
    /// An exit began, and was dropped before it ended.
    ExitDropped(Who),
    /// An exit began, and had not ended when everything was drained.
    ExitUnfinished(Who),
    /// An enter was neither finished nor dropped when everything was drained.
    EnterUnfinished(Who),
    /// The exit ran, but only after the drain had returned: it was spawned, not handed over, and a shutdown
    /// would lose it.
    NotDrained(Who),
    /// The inner resource had not ended when the exit of the outer began.
    OutOfOrder {
        /// Entered later.
        inner: Who,
        /// Entered earlier, and exited too early.
        outer: Who,
    },
    /// The hub's registry says that something is held or was lost.
    Registry(String),
    /// The user's check failed.
    Check(String),
    /// A call of the check did not end within its limit.
    CheckTimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The set-up of a run, or of the proof, did not end within its limit.
    SetUpTimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The future returned an error, here as text, although nothing was done to it.
    Failed(String),
    /// The future neither ended nor suspended again within the limit.
    Hung {
        /// The suspension it did not come back from.
        suspension: u64,
        /// The limit.
        limit: Duration,
    },
    /// No run could be dropped at as many suspensions as the proof asks for.
    TooFewSuspensions {
        /// How the future was to be dropped.
        by: CancelBy,
        /// The last suspension at which it was.
        reached: u64,
        /// The least that was asked for.
        min: u64,
    },
    /// No run had as many fault points as the proof asks for.
    TooFewPoints {
        /// The points at which a fault was injected.
        reached: u64,
        /// The least that was asked for.
        min: u64,
    },
    /// No run came to the suspension that was to be tried.
    NotReached {
        /// The suspension.
        step: u64,
    },
    /// There are more suspensions or fault points than the proof's limit.
    Endless {
        /// The limit.
        limit: u64,
    },
}

/// A resource of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    name: String,
    location: &'static Location<'static>,
}

impl Who {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the place where the test made it.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" (entered at {})", self.name, self.location)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverExited(who) => write!(f, "{who} was never exited"),
            Self::ExitedTwice(who) => write!(f, "{who} was exited more than once"),
            Self::ExitDropped(who) => write!(f, "the exit of {who} was dropped before it ended"),
            Self::ExitUnfinished(who) => write!(f, "the exit of {who} never ended"),
            Self::EnterUnfinished(who) => write!(f, "the enter of {who} never ended"),
            Self::NotDrained(who) => {
                write!(f, "{who} was not exited when the drain returned: its exit is spawned, not handed over")
            }
            Self::OutOfOrder { inner, outer } => {
                write!(f, "{outer} began its exit before {inner}, which it encloses, had ended")
            }
            Self::Registry(finding) => f.write_str(finding),
            Self::Check(finding) => write!(f, "the check failed: {finding}"),
            Self::CheckTimedOut { limit } => {
                write!(f, "the check did not end within {limit:?} (`check_timeout`)")
            }
            Self::SetUpTimedOut { limit } => {
                write!(f, "the set-up did not end within {limit:?} (`set_up_timeout`)")
            }
            Self::Failed(error) => write!(
                f,
                "it returned an error although nothing was done to it: {error} (if that is right: `allow_errors`)"
            ),
            Self::TooFewSuspensions { by, reached, min } => write!(
                f,
                "it could be {by} at {reached} suspensions, and {min} are the least that is to be tried \
                 (`min_suspensions`)"
            ),
            Self::TooFewPoints { reached, min } => write!(
                f,
                "it has {reached} fault points, and {min} are the least that is to be tried (`min_points`); a step \
                 or a resource of the recorder is one"
            ),
            Self::NotReached { step } => write!(f, "no run came to suspension {step}"),
            Self::Hung { suspension, limit } => write!(
                f,
                "after suspension {suspension} it neither ended nor suspended again within {limit:?} (`run_limit`; \
                 if it has to hang: `allow_hang`): what it waits for does not come"
            ),
            Self::Endless { limit } => {
                write!(f, "it did not end within {limit} suspensions or fault points (`max_steps`)")
            }
        }
    }
}

/// What a trace tells of one resource; positions in the trace.
struct Life {
    who: Who,
    task: Option<tokio::task::Id>,
    began: usize,
    entered: Option<usize>,
    enter_over: bool,
    exits: Vec<usize>,
    /// The first end of an exit, by any way.
    ended: Option<usize>,
    exit_dropped: bool,
}

impl Life {
    /// When it no longer is in anyone's way.
    fn over(&self) -> Option<usize> {
        if self.enter_over { Some(self.began) } else { self.ended }
    }

    fn is_over(&self) -> bool {
        self.enter_over || self.ended.is_some()
    }
}

fn lives(events: &[Event]) -> Vec<Life> {
    use EventKind as K;
    let mut lives = BTreeMap::<u64, Life>::new();
    for (at, event) in events.iter().enumerate().filter(|(_, event)| event.id != 0) {
        let life = lives.entry(event.id).or_insert_with(|| Life {
            who: Who { name: event.name.clone(), location: event.location },
            task: event.task,
            began: at,
            entered: None,
            enter_over: false,
            exits: Vec::new(),
            ended: None,
            exit_dropped: false,
        });
        match event.kind {
            K::Entered => life.entered = Some(at),
            K::EnterFailed | K::EnterPanicked | K::EnterDropped => life.enter_over = true,
            K::Exiting(_) => life.exits.push(at),
            K::Exited | K::ExitFailed | K::ExitPanicked => _ = life.ended.get_or_insert(at),
            K::ExitDropped => {
                life.ended.get_or_insert(at);
                life.exit_dropped = true;
            }
            K::Entering
            | K::Dropped
            | K::Step
            | K::Note
            | K::Injected(_)
            | K::Cancelled(_)
            | K::Incident(_) => {}
        }
    }
    lives.into_values().collect()
}

/// The resources that are not over yet.
pub(crate) fn unfinished(events: &[Event]) -> Vec<Who> {
    lives(events).into_iter().filter(|life| !life.is_over()).map(|life| life.who).collect()
}

/// Exactly one exit for each successful enter, run to its end (law 7).
pub(crate) fn exactly_once(events: &[Event], allow_cut_exits: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for life in lives(events) {
        let who = life.who.clone();
        if life.entered.is_none() {
            if !life.enter_over {
                found.push(Violation::EnterUnfinished(who));
            }
            continue;
        }
        match life.exits.len() {
            0 => found.push(Violation::NeverExited(who)),
            1 if life.exit_dropped && allow_cut_exits => {}
            1 if life.exit_dropped => found.push(Violation::ExitDropped(who)),
            1 if life.ended.is_none() => found.push(Violation::ExitUnfinished(who)),
            1 => {}
            _ => found.push(Violation::ExitedTwice(who)),
        }
    }
    found
}

/// Inner exits end before outer ones begin (law 13).
///
/// Two resources are nested if one began while the other was held, in the same task. Others have no order that
/// a trace could show.
pub(crate) fn in_reverse_order(events: &[Event]) -> Vec<Violation> {
    let lives = lives(events);
    let mut found = Vec::new();
    for outer in &lives {
        let (Some(held_from), Some(held_to)) = (outer.entered, outer.exits.first()) else {
            continue;
        };
        for inner in lives.iter().filter(|inner| inner.task == outer.task) {
            let is_nested = held_from < inner.began && inner.began < *held_to;
            // An inner resource that is never over is reported by `exactly_once`.
            let ends_late = inner.over().is_some_and(|over| over > *held_to);
            if is_nested && ends_late {
                found.push(Violation::OutOfOrder { inner: inner.who.clone(), outer: outer.who.clone() });
            }
        }
    }
    found
}

/// Whether the exit of every `inner` ended before that of any `outer` held at the time began.
pub(crate) fn nested(events: &[Event], inner: &str, outer: &str) -> Option<Violation> {
    let lives = lives(events);
    for outer in lives.iter().filter(|life| life.who.name == outer) {
        let Some(left) = outer.exits.first() else {
            continue;
        };
        for inner in lives.iter().filter(|life| life.who.name == inner && life.began < *left) {
            if inner.over().is_none_or(|over| over > *left) {
                return Some(Violation::OutOfOrder { inner: inner.who.clone(), outer: outer.who.clone() });
            }
        }
    }
    None
}
