//! What is known of a connection beside what hyper knows.
//!
//! hyper's time limit for heads begins when the version is known, which takes up to 24 bytes. A client that sends
//! fewer would be waited for without a limit. And hyper has no limit for writes at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::watch::Watch;
use crate::metered::Meter;

/// As many bytes as decide between the versions: the preface of HTTP/2.
const DECISIVE_BYTES: u64 = 24;

/// How far a connection has come.
#[derive(Debug)]
pub(super) struct Progress {
    // Relaxed: both are only looked at, by the task that sets them or by one that is late anyway.
    read: AtomicU64,
    requested: AtomicBool,
    pub(super) watch: Arc<Watch>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { read: AtomicU64::new(0), requested: AtomicBool::new(false), watch: Arc::new(Watch::new()) }
    }

    /// Notes that a request's head was read.
    pub(super) fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether there is a limit of hyper's on how long the connection may stay as it is.
    pub(super) fn is_begun(&self) -> bool {
        self.requested.load(Ordering::Relaxed) || self.read.load(Ordering::Relaxed) >= DECISIVE_BYTES
    }
}

impl Meter for Progress {
    fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn wrote(&self, taken: bool) {
        if taken {
            self.watch.go_on();
        } else {
            self.watch.wait();
        }
    }
}
