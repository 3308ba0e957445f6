//! Where the entries of held tenures lie: a few slabs, so that workers seldom meet at one lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Entry;

const SLABS: usize = 16;

/// Where an entry lies: the slot, times the number of slabs, and the slab. One word with the two flags beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Key(u32);

impl Key {
    const SLABS: u32 = SLABS as u32;

    fn new(slab: usize, slot: u32) -> Self {
        let slab = u32::try_from(slab).expect("there are few slabs");
        Self(slot.checked_mul(Self::SLABS).expect("fewer than 2^28 tenures are held by a thread") + slab)
    }

    fn slab(self) -> usize {
        (self.0 % Self::SLABS) as usize
    }

    fn slot(self) -> u32 {
        self.0 / Self::SLABS
    }
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    slabs: [Mutex<Slab>; SLABS],
}

/// Slots, the vacant ones linked. Grows to the most that were held at once and stays there, so that registering
/// allocates nothing in the long run.
#[derive(Debug, Default)]
struct Slab {
    slots: Vec<Slot>,
    vacant: Option<u32>,
    occupied: u32,
}

#[derive(Debug)]
enum Slot {
    Held(Entry),
    Vacant { next: Option<u32> },
}

impl Shelf {
    pub(super) fn insert(&self, entry: Entry) -> Key {
        let slab = thread_number() % SLABS;
        let slot = self.lock(slab).insert(entry);
        Key::new(slab, slot)
    }

    pub(super) fn change<T>(&self, key: Key, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        match self.lock(key.slab()).slots.get_mut(key.slot() as usize) {
            Some(Slot::Held(entry)) => Some(change(entry)),
            Some(Slot::Vacant { .. }) | None => None,
        }
    }

    pub(super) fn remove(&self, key: Key) -> Option<Entry> {
        self.lock(key.slab()).remove(key.slot())
    }

    pub(super) fn is_empty(&self) -> bool {
        (0..SLABS).all(|slab| self.lock(slab).occupied == 0)
    }

    /// Looks at each entry, one slab after the other: a snapshot of each, not of all at one instant.
    pub(super) fn each(&self, mut look: impl FnMut(&mut Entry)) {
        for slab in 0..SLABS {
            for slot in &mut self.lock(slab).slots {
                if let Slot::Held(entry) = slot {
                    look(entry);
                }
            }
        }
    }

    fn lock(&self, slab: usize) -> MutexGuard<'_, Slab> {
        self.slabs[slab].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slab {
    fn insert(&mut self, entry: Entry) -> u32 {
        self.occupied += 1;
        if let Some(index) = self.vacant {
            let slot = &mut self.slots[index as usize];
            if let Slot::Vacant { next } = *slot {
                self.vacant = next;
            }
            *slot = Slot::Held(entry);
            return index;
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 tenures are held at once");
        self.slots.push(Slot::Held(entry));
        index
    }

    fn remove(&mut self, index: u32) -> Option<Entry> {
        let slot = self.slots.get_mut(index as usize)?;
        if matches!(slot, Slot::Vacant { .. }) {
            return None;
        }
        let vacant = Slot::Vacant { next: self.vacant };
        self.vacant = Some(index);
        self.occupied -= 1;
        match std::mem::replace(slot, vacant) {
            Slot::Held(entry) => Some(entry),
            Slot::Vacant { .. } => None,
        }
    }
}

/// A number that differs from thread to thread.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    if MINE.get() == usize::MAX {
        MINE.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    MINE.get()
}
