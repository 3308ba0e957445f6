//! The properties, each checked at the event by which it could break.
//!
//! # Invariants
//! 1. An exit begins once and ends once (law 7), and never before it has begun unless its time is over.
//! 2. When an exit begins, what its body left behind has ended (law 13a).
//! 3. When a guard's exit begins that was pending, those that were entered later and left in the same frame have ended (law
//!    13b).
//! 4. When an exit ends, what it left behind has ended (law 13e).

use super::state::{ContextId, Event, Facts, Frame, Id, Ledger, MAX_IDS, Told, bit, body_of, exit_of};

impl Ledger {
    pub(crate) fn new(trace: bool) -> Self {
        Self {
            // 0 is the root task.
            facts: vec![Facts::default()],
            entered: 0,
            branches: 0,
            handed_over: 0,
            begun: 0,
            ended: 0,
            expired: 0,
            in_place: Vec::new(),
            broken: None,
            trace: trace.then(Vec::new),
        }
    }

    pub(crate) fn fresh(&mut self) -> Id {
        let id = self.facts.len();
        assert!(id < MAX_IDS, "the program is too large for the model");
        self.facts.push(Facts::default());
        id
    }

    pub(crate) fn enter(&mut self, id: Id, context: ContextId, home: Frame, branch: bool) {
        self.entered |= bit(id);
        if branch {
            self.branches |= bit(id);
        }
        (self.facts[id].context, self.facts[id].home) = (small(context), small(home));
    }

    fn ids(&self) -> std::ops::Range<Id> {
        1..self.facts.len()
    }

    pub(crate) fn context(&self, id: Id) -> ContextId {
        self.facts[id].context.into()
    }

    pub(crate) fn home(&self, id: Id) -> Frame {
        self.facts[id].home.into()
    }

    fn is_placed(&self, id: Id, frame: Frame) -> bool {
        self.open() & bit(id) != 0 && self.facts[id].placed == small(frame)
    }

    /// Whether an instance of the context is entered and has not ended, whose exit may be waited for in the exit of this
    /// one: it was entered later, or is a branch, or was dropped by that very exit.
    ///
    /// To wait for the exit of a guard that was entered earlier in the same scope is to wait for oneself, whichever branch
    /// of a join it was entered in: no scope knows of branches, and by its place in the order the guard lies around.
    pub(crate) fn is_alive(&self, context: ContextId, waiting: Id) -> bool {
        let alive = self.entered & !self.ended;
        self.ids().any(|id| {
            let owned = self.handed_over & bit(id) != 0 && self.facts[id].below == small(exit_of(waiting));
            let counts = id > waiting || owned || self.branches & bit(id) != 0;
            counts && alive & bit(id) != 0 && self.context(id) == context
        })
    }

    pub(crate) fn was_entered(&self, context: ContextId) -> bool {
        self.ids().any(|id| self.entered & bit(id) != 0 && self.context(id) == context)
    }

    pub(crate) fn hand_over(&mut self, id: Id, frame: Frame, dropped_by: Frame) {
        self.handed_over |= bit(id);
        (self.facts[id].placed, self.facts[id].below) = (small(frame), small(dropped_by));
        self.facts[id].bound = small(self.facts.len());
        self.in_place.retain(|(_, other)| *other != id);
    }

    pub(crate) fn open(&self) -> u32 {
        self.handed_over & !self.ended
    }

    /// In place, if a frame is given.
    pub(crate) fn begin(&mut self, id: Id, told: Told, in_place: Option<Frame>, is_noted: bool) {
        if self.begun & bit(id) != 0 || self.entered & bit(id) == 0 {
            self.broken = Some("an exit begins twice, or without an enter");
        }
        if self.is_left(body_of(id)) {
            self.broken = Some("13a: an exit begins before what its body left behind has ended");
        }
        let is_guard = self.branches & bit(id) == 0;
        if in_place.is_none() && is_guard && self.younger(id, self.facts[id].placed.into(), false) != 0 {
            self.broken = Some("13b: a guard's exit begins before that of one that was entered later");
        }
        self.begun |= bit(id);
        if let Some(frame) = in_place {
            self.facts[id].below = small(frame);
            self.in_place.push((frame, id));
        }
        if is_noted {
            self.note(Event::Begins(self.context(id), told));
        }
    }

    /// Whether something that belongs to the frame has not ended.
    fn is_left(&self, frame: Frame) -> bool {
        let frame = small(frame);
        self.ids().any(|id| {
            let facts = self.facts[id];
            let handed_over = self.open() & bit(id) != 0 && facts.below == frame;
            let in_place = self.begun & !self.ended & !self.handed_over & bit(id) != 0 && facts.below == frame;
            handed_over || in_place
        })
    }

    pub(crate) fn end(&mut self, id: Id) {
        if self.ended & bit(id) != 0 || self.begun & bit(id) == 0 {
            self.broken = Some("an exit ends twice, or without having begun");
        }
        if self.is_left(exit_of(id)) {
            self.broken = Some("13e: an exit ends before what it left behind has ended");
        }
        self.ended |= bit(id);
        self.in_place.retain(|(_, other)| *other != id);
    }

    /// At an exit time limit, whether the exit has begun or not.
    pub(crate) fn expire(&mut self, id: Id, is_noted: bool) {
        if self.ended & bit(id) != 0 {
            self.broken = Some("an exit runs out of time after it has ended");
        }
        let is_pending = self.begun & bit(id) == 0 && self.handed_over & bit(id) != 0;
        let is_guard = self.branches & bit(id) == 0;
        if is_guard && is_pending && self.younger(id, self.facts[id].placed.into(), false) != 0 {
            self.broken = Some("13b: a guard runs out of time before the exit of one that was entered later");
        }
        self.ended |= bit(id);
        self.expired |= bit(id);
        self.in_place.retain(|(_, other)| *other != id);
        if is_noted {
            self.note(Event::Expires(self.context(id)));
        }
    }

    /// At the end of a run: whether each enter has had its exit.
    pub(crate) fn is_balanced(&self) -> bool {
        self.entered == self.ended && self.entered == (self.begun | self.expired)
    }

    pub(crate) fn note(&mut self, event: Event) {
        if let Some(trace) = &mut self.trace {
            trace.push(event);
        }
    }

    /// Those that were entered after this one and before it was handed over, were handed over in this frame, and have not
    /// ended: wait 1.
    pub(crate) fn younger(&self, id: Id, frame: Frame, in_place_counts: bool) -> u32 {
        let until = match self.facts[id].bound {
            0 => self.facts.len(),
            bound => bound.into(),
        };
        let later = id + 1..until;
        let mut found =
            later.filter(|other| self.is_placed(*other, frame)).fold(0, |found, other| found | bit(other));
        if in_place_counts {
            for (_, other) in self.in_place.iter().filter(|(place, other)| *place == frame && *other > id) {
                found |= bit(*other);
            }
        }
        found
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("programs are small")
}
