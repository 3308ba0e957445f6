//! First come, first served, in an arena under the lock of the design.

use std::task::{Context, Waker};

/// The waiters, as a list through a vector.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: Vec<Entry>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    next: Option<usize>,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Waker),
    Served(u32),
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Joins the queue; the result is the ticket.
    pub(super) fn join(&mut self, cx: &Context<'_>) -> usize {
        let entry = Entry { state: State::Waiting(cx.waker().clone()), next: None };
        let ticket = match self.free.pop() {
            Some(ticket) => {
                self.entries[ticket] = entry;
                ticket
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        match self.last.replace(ticket) {
            Some(last) => self.entries[last].next = Some(ticket),
            None => self.first = Some(ticket),
        }
        ticket
    }

    /// Hands a slot to the first, if there is one.
    pub(super) fn serve(&mut self, slot: u32) -> Option<Waker> {
        let first = self.first?;
        self.first = self.entries[first].next;
        if self.first.is_none() {
            self.last = None;
        }
        match std::mem::replace(&mut self.entries[first].state, State::Served(slot)) {
            State::Waiting(waker) => Some(waker),
            State::Free | State::Served(_) => None,
        }
    }

    /// The slot that was handed to a ticket.
    pub(super) fn look(&mut self, ticket: usize) -> Option<u32> {
        let State::Served(slot) = self.entries[ticket].state else { return None };
        self.entries[ticket].state = State::Free;
        self.free.push(ticket);
        Some(slot)
    }
}
