//! A handle that does not keep its pool open.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::manager::Manager;
use crate::pool::Pool;
use crate::shared::Shared;

/// A handle of a pool that does not count: the pool closes when the last [`Pool`] is dropped, however many of these
/// there are. Returned by [`Pool::downgrade`].
pub struct WeakPool<M: Manager>(Weak<Shared<M>>);

impl<M: Manager> WeakPool<M> {
    /// Returns a handle, or nothing if the last one has been dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<Pool<M>> {
        Pool::from_shared(self.0.upgrade()?)
    }
}

impl<M: Manager> Pool<M> {
    /// Returns a handle that does not keep the pool open.
    #[must_use]
    pub fn downgrade(&self) -> WeakPool<M> {
        WeakPool(Arc::downgrade(&self.shared))
    }

    /// A handle of a pool that has one still.
    pub(crate) fn from_shared(shared: Arc<Shared<M>>) -> Option<Self> {
        let handles = &shared.ext.handles;
        // Acquire and release as in `Drop for Pool`: a pool whose last handle is gone closes, and gets no new one.
        let count = |handles: usize| (handles > 0).then(|| handles + 1);
        handles.fetch_update(Ordering::AcqRel, Ordering::Acquire, count).ok()?;
        Some(Self { shared })
    }
}

impl<M: Manager> Clone for WeakPool<M> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<M: Manager> fmt::Debug for WeakPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakPool").finish_non_exhaustive()
    }
}
