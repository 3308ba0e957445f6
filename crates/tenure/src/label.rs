//! The name, the place and the number by which a tenure is known.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name and location of an enter: what every report names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) name: &'static str,
    pub(crate) location: &'static Location<'static>,
}

/// Identity of a tenure in reports, and its place in the order of entering. 0 is none.
pub(crate) type Id = u64;

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_id() -> Id {
    // Relaxed: only the distinct, growing values matter; nothing is published by them.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The newest id that was given out.
pub(crate) fn newest_id() -> Id {
    // Relaxed, as above: whoever compares with an id has that id from a lock.
    NEXT.load(Ordering::Relaxed) - 1
}
