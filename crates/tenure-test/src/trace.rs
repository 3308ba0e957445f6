//! [`Trace`]: what happened, with assertions that read like the laws.

use std::fmt;

use tenure::IncidentKind;

use crate::verify::{self, Violation};
use crate::{Event, EventKind, Fault, Seen};

/// A list of what happened, in order.
///
/// Each assertion prints the whole trace when it fails. Resources are meant by name; where several share a
/// name, an assertion holds for each of them.
#[derive(Clone, Debug)]
#[must_use = "a trace that nobody looks at proves nothing"]
pub struct Trace {
    events: Vec<Event>,
}

impl Trace {
    pub(crate) fn new(events: Vec<Event>) -> Self {
        Self { events }
    }

    /// Returns the events, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Returns the number of resources of this name that were entered.
    #[must_use]
    pub fn entered(&self, name: &str) -> usize {
        self.count(|event| event.name == name && event.kind == EventKind::Entered)
    }

    /// Returns the number of exits of this name that began.
    #[must_use]
    pub fn exited(&self, name: &str) -> usize {
        self.count(|event| event.name == name && matches!(event.kind, EventKind::Exiting(_)))
    }

    /// Returns the number of resources that were entered in all.
    #[must_use]
    pub fn entered_in_all(&self) -> usize {
        self.count(|event| event.kind == EventKind::Entered)
    }

    /// Returns `true` if a line of this text is in the trace.
    #[must_use]
    pub fn contains(&self, line: &str) -> bool {
        self.events.iter().any(|event| event.to_string() == line)
    }

    /// Returns the outcome that the last exit of this name was told.
    #[must_use]
    pub fn outcome(&self, name: &str) -> Option<&Seen> {
        self.events.iter().rev().find_map(|event| match &event.kind {
            EventKind::Exiting(seen) if event.name == name => Some(seen),
            _ => None,
        })
    }

    /// Asserts law 7 for one name: entered, and as many times exited, each to its end.
    ///
    /// # Panics
    /// If it was never entered, or is not exited exactly once for each enter.
    #[track_caller]
    pub fn assert_exited_once(&self, name: &str) {
        assert!(self.entered(name) > 0, "\"{name}\" was never entered\n{self}");
        let broken = verify::exactly_once(&self.events, false);
        let broken: Vec<_> = broken.iter().filter(|violation| is_about(violation, name)).collect();
        assert!(broken.is_empty(), "{}{self}", lines(&broken));
    }

    /// Asserts law 7 for everything in the trace.
    ///
    /// # Panics
    /// If anything entered is not exited exactly once, to its end.
    #[track_caller]
    pub fn assert_all_exited_once(&self) {
        let broken = verify::exactly_once(&self.events, false);
        assert!(broken.is_empty(), "{}{self}", lines(&broken));
    }

    /// Asserts that it was neither entered nor exited (laws 2 and 9).
    ///
    /// # Panics
    /// If a resource of this name was entered, or an exit of it began.
    #[track_caller]
    pub fn assert_never_entered(&self, name: &str) {
        assert_eq!((self.entered(name), self.exited(name)), (0, 0), "\"{name}\"\n{self}");
    }

    /// Asserts law 13: whatever was entered in a task while something else was held ended before that began its exit.
    ///
    /// For resources of several tasks, say which is inside which: [`assert_nested`](Self::assert_nested).
    ///
    /// # Panics
    /// If an exit began before an inner one had ended.
    #[track_caller]
    pub fn assert_lifo(&self) {
        let broken = verify::in_reverse_order(&self.events);
        assert!(broken.is_empty(), "{}{self}", lines(&broken));
    }

    /// Asserts that the exit of `inner` ended before the exit of `outer` began, in whatever tasks they ran.
    ///
    /// # Panics
    /// If it did not, or if one of them was never entered or never exited.
    #[track_caller]
    pub fn assert_nested(&self, inner: &str, outer: &str) {
        for name in [inner, outer] {
            assert!(self.entered(name) > 0, "\"{name}\" was never entered\n{self}");
            assert!(self.exited(name) > 0, "\"{name}\" was never exited\n{self}");
        }
        if let Some(violation) = verify::nested(&self.events, inner, outer) {
            panic!("{violation}\n{self}");
        }
    }

    /// Asserts that these lines occur in this order; others may stand between.
    ///
    /// # Panics
    /// If one is missing, or stands before its predecessor.
    #[track_caller]
    pub fn assert_order<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        let mut events = self.events.iter();
        for line in lines {
            let line = line.as_ref();
            assert!(
                events.any(|event| event.to_string() == line),
                "`{line}` is missing, or not in its place\n{self}"
            );
        }
    }

    /// Asserts that these are the principal lines, all of them, in this order.
    ///
    /// Principal are `enter a`, `exit a: …`, steps, notes and whatever failed, panicked or was dropped half-way.
    /// Left out are the beginnings of enters, the ends of exits that succeeded, drops after an exit, and what
    /// the harness did.
    ///
    /// # Panics
    /// If the lines differ.
    #[track_caller]
    pub fn assert_exactly<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        let expected: Vec<_> = lines.into_iter().map(|line| line.as_ref().to_owned()).collect();
        let found: Vec<_> =
            self.events.iter().filter(|event| event.is_principal()).map(ToString::to_string).collect();
        assert_eq!(found, expected, "found, and expected\n{self}");
    }

    /// Asserts that every exit of this name was told this outcome.
    ///
    /// # Panics
    /// If there is no such exit, or one saw another outcome.
    #[track_caller]
    pub fn assert_outcome(&self, name: &str, expected: &Seen) {
        assert!(self.exited(name) > 0, "\"{name}\" was never exited\n{self}");
        for event in self.events.iter().filter(|event| event.name == name) {
            if let EventKind::Exiting(seen) = &event.kind {
                assert_eq!(seen, expected, "the outcome that \"{name}\" saw, and the expected\n{self}");
            }
        }
    }

    /// Asserts that the exits of this name saw that very [`Fault`], not one that looks like it (law 3).
    ///
    /// # Panics
    /// If there is no such exit, or one saw anything else.
    #[track_caller]
    pub fn assert_saw_fault(&self, name: &str, fault: &Fault) {
        assert!(self.exited(name) > 0, "\"{name}\" was never exited\n{self}");
        for event in self.events.iter().filter(|event| event.name == name) {
            if matches!(event.kind, EventKind::Exiting(_)) {
                assert_eq!(event.fault.as_ref(), Some(fault), "what \"{name}\" saw\n{self}");
            }
        }
    }

    /// Returns the incidents of this kind that the hub reported during the run: those of handed-over exits, and those
    /// whose error or panic was no caller's result.
    pub fn incidents(&self, kind: IncidentKind) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == EventKind::Incident(kind))
    }

    fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }
}

fn is_about(violation: &Violation, name: &str) -> bool {
    match violation {
        Violation::NeverExited(who)
        | Violation::ExitedTwice(who)
        | Violation::ExitDropped(who)
        | Violation::ExitUnfinished(who)
        | Violation::EnterUnfinished(who)
        | Violation::NotDrained(who) => who.name() == name,
        // Of the run, or of the proof: not of one resource.
        _ => false,
    }
}

fn lines(items: &[impl fmt::Display]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("trace:\n")?;
        if self.events.is_empty() {
            return f.write_str("  (nothing was recorded)\n");
        }
        for (number, event) in self.events.iter().enumerate() {
            writeln!(f, "{number:>4}  {event}")?;
        }
        Ok(())
    }
}
