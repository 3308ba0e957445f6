//! What the tasks of a server share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::ServerStats;
use super::limits::Limits;
use crate::stop::Stages;

#[derive(Debug)]
pub(super) struct Control {
    pub(super) stages: Arc<Stages>,
    /// One permit for each connection, from its accept until its last exit.
    pub(super) slots: Arc<Semaphore>,
    pub(super) limits: Limits,
    pub(super) stats: ServerStats,
}

impl Control {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            stages: Arc::default(),
            slots: Arc::new(Semaphore::new(limits.max_connections as usize)),
            limits,
            stats: ServerStats::default(),
        }
    }
}

/// Counts the panic that drops it.
pub(super) struct CountPanic(pub(super) Arc<Control>);

impl Drop for CountPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stats.count_panicked();
        }
    }
}
