//! The pool itself.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::builder::{Builder, Order, Tuning, load, store};
use crate::clock::nanos;
use crate::get::Get;
use crate::ledger::Ledger;
use crate::manager::Manager;
use crate::raw::{Core, Slow};
use crate::shared::{Ext, Shared, flag};
use crate::status::{Counters, Histograms, Holder, Status};

/// A pool of resources.
pub struct Pool<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Sets up a pool.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }

    pub(crate) fn from_builder(builder: Builder<M>) -> Self {
        let Builder { manager, config, tuning } = builder;
        let is_ordered = config.order == Order::Fifo || !config.pooling;
        let ledger = Ledger::new(config.max_size);
        let shared = Arc::new(Core::new(ledger, Ext::new(manager, config, tuning)));
        if is_ordered {
            shared.lock().set_slow(Slow::ORDERED);
        }
        Self { shared }
    }

    pub(crate) fn tuning(&self) -> &Tuning {
        &self.shared.ext.tuning
    }

    /// Takes a resource.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Get<&Self, M> {
        Get::new(self, Location::caller())
    }

    /// As [`get`](Self::get), but it owns its handle of the pool.
    #[track_caller]
    pub fn get_owned(&self) -> Get<Self, M> {
        Get::new(self.clone(), Location::caller())
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        self.shared.ext.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
