//! What is held now, to look at.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use super::entry::{Entry, Item};
use super::{Registry, current};
use crate::frame;
use crate::label::{Id, Label};

/// How far a held tenure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// A shielded enter is under way.
    Entering,
    /// The resource is held: the body runs, or a guard or a stack owns it.
    Held,
    /// It was handed over and waits for those that have to exit before it.
    Waiting,
    /// The exit is under way.
    Exiting,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entering => "entering",
            Self::Held => "held",
            Self::Waiting => "waiting to exit",
            Self::Exiting => "exiting",
        })
    }
}

/// One tenure that is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenTenure {
    /// Distinguishes it from all others in the process. Later enters have greater ids.
    pub id: u64,
    /// The id of the tenure in whose body it was entered, or of the stack it lies on; `None` at the root.
    pub parent: Option<u64>,
    /// The name: as set in its options, else the type of its resource.
    pub name: &'static str,
    /// Where it was entered.
    pub location: &'static Location<'static>,
    /// Since its first suspension after the enter. Zero if there has been none yet.
    pub age: Duration,
    /// How far it has come.
    pub phase: Phase,
    /// Whether its caller is gone and it exits in the background.
    pub handed_over: bool,
}

/// What is open now, as a tree when displayed.
#[derive(Clone, Debug, Default)]
pub struct OpenTenures {
    tenures: Vec<OpenTenure>,
}

impl OpenTenures {
    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tenures.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tenures.is_empty()
    }

    /// All of them, in the order of entering.
    pub fn iter(&self) -> std::slice::Iter<'_, OpenTenure> {
        self.tenures.iter()
    }

    fn of(mut tenures: Vec<OpenTenure>) -> Self {
        tenures.sort_by_key(|tenure| tenure.id);
        Self { tenures }
    }
}

impl<'a> IntoIterator for &'a OpenTenures {
    type Item = &'a OpenTenure;
    type IntoIter = std::slice::Iter<'a, OpenTenure>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for OpenTenures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: HashSet<Id> = self.iter().map(|tenure| tenure.id).collect();
        let mut children: BTreeMap<Option<Id>, Vec<&OpenTenure>> = BTreeMap::new();
        for tenure in self {
            let parent = tenure.parent.filter(|parent| known.contains(parent));
            children.entry(parent).or_default().push(tenure);
        }
        // Depth first, without recursion: a tree may be as deep as the program nests.
        let mut next: Vec<(usize, &OpenTenure)> = Vec::new();
        let push = |next: &mut Vec<_>, depth, parent| {
            let below = children.get(&parent).into_iter().flatten().rev();
            next.extend(below.map(|tenure| (depth, *tenure)));
        };
        push(&mut next, 0, None);
        let mut first = true;
        while let Some((depth, tenure)) = next.pop() {
            if !std::mem::take(&mut first) {
                f.write_str("\n")?;
            }
            write!(f, "{:indent$}{tenure}", "", indent = 2 * depth)?;
            push(&mut next, depth + 1, Some(tenure.id));
        }
        Ok(())
    }
}

impl fmt::Display for OpenTenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, location, age, phase, .. } = self;
        write!(f, "{name}, entered at {location}, {phase}, {age:.1?} old")?;
        if self.handed_over {
            f.write_str(", its caller is gone")?;
        }
        Ok(())
    }
}

/// What is held now on this runtime.
///
/// A tenure on another thread appears neither here nor in [`counters`](crate::counters) until its body has suspended
/// once. All others do: those held by bodies that run, by guards, by stacks, and those handed over.
///
/// It locks each part of the list for a moment and copies: made to be called every second, not every request.
#[must_use]
pub fn open() -> OpenTenures {
    let mut seen = current().list(|_| true);
    let listed: HashSet<Id> = seen.iter().map(|tenure| tenure.id).collect();
    let bodies = frame::running_bodies().into_iter();
    let unlisted = bodies.filter(|(id, ..)| !listed.contains(id));
    seen.extend(unlisted.map(|(id, parent, label)| {
        let age = Duration::ZERO;
        open_tenure(id, parent, label, age, Phase::Held, false)
    }));
    OpenTenures::of(seen)
}

impl Registry {
    /// What was handed over and has not ended.
    pub(super) fn handed_over(&self) -> OpenTenures {
        OpenTenures::of(self.list(|entry| entry.handed_over().is_some()))
    }

    fn list(&self, pick: impl Fn(&Entry) -> bool) -> Vec<OpenTenure> {
        let now = Instant::now();
        let mut found = Vec::new();
        let mut with_items = Vec::new();
        self.held.each(|entry| {
            if !pick(entry) {
                return;
            }
            let age = now.saturating_duration_since(entry.since);
            let handed_over = entry.handed_over().is_some();
            let Entry { id, parent, label, phase, .. } = *entry;
            found.push(open_tenure(id, parent, label, age, phase, handed_over));
            if let Some(items) = entry.items() {
                with_items.push((id, age, phase, handed_over, items));
            }
        });
        // The items have a lock of their own: asked for after the list's is free.
        for (parent, age, phase, handed_over, items) in with_items {
            let items = items.items().into_iter();
            found.extend(
                items.map(|Item { id, label }| open_tenure(id, parent, label, age, phase, handed_over)),
            );
        }
        found
    }
}

fn open_tenure(id: Id, parent: Id, label: Label, age: Duration, phase: Phase, handed_over: bool) -> OpenTenure {
    let Label { name, location } = label;
    let parent = (parent != 0).then_some(parent);
    OpenTenure { id, parent, name, location, age, phase, handed_over }
}
