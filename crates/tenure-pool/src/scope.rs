//! The scope: a get, a body and the return in one, which the pool can stop, and which knows itself.
//!
//! While the body of a scope is polled, a note of it lies on a stack of the thread. A get that is polled inside
//! such bodies can be told with certainty that it waits for itself: if the bodies around it hold every lease
//! that may exist, none comes back before they end, and none of them ends before this get is gone.
//!
//! # Invariants
//! 1. A note lies on the stack just while the body of its scope is polled; polls nest, so notes do.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use tenure::{BodyFn, Options, Stopped};

use crate::error::GetError;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::shared::Locked;

thread_local! {
    /// The pools, by address, of the scopes whose bodies are being polled on this thread.
    static AROUND: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Keeps a note on the stack.
struct Noted;

impl Noted {
    fn new(pool: usize) -> Self {
        AROUND.with_borrow_mut(|around| around.push(pool));
        Self
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        AROUND.with_borrow_mut(Vec::pop);
    }
}

/// Whether the scopes around the code that runs now hold every lease that may exist.
pub(crate) fn holds_all<M: Manager>(locked: &Locked<'_, M>) -> bool {
    let pool = Arc::as_ptr(locked.core()).addr();
    let held = AROUND.try_with(|around| {
        let around = around.borrow();
        around.iter().filter(|&&other| other == pool).count()
    });
    held.is_ok_and(|held| held > 0 && held >= locked.state.max_size)
}

impl<M: Manager> Pool<M> {
    /// Takes a resource, runs the body with it, and gives it back with the outcome.
    ///
    /// It is [`with`](tenure::with) on [`get`](Self::get), and besides:
    ///
    /// - When the pool closes and its drain timeout is over, the body is cancelled, and the scope ends with
    ///   [`Stopped::Cancelled`].
    /// - A get inside the body that could only be served by this very body is refused at once with
    ///   [`SelfDeadlock`](crate::GetErrorKind::SelfDeadlock), instead of at its time limit.
    ///
    /// It allocates once.
    ///
    /// # Errors
    /// Those of `get`, of the body, and [`Stopped`].
    ///
    /// # Cancel safety
    /// As `with`: the resource goes back as cancelled, and is reset before anybody else has it.
    #[track_caller]
    pub fn scope<T, E, F>(&self, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'r> BodyFn<&'r mut Lease<M>, Result<T, E>, Fut: Send> + Send,
        T: Send,
        E: From<GetError> + From<Stopped> + Debug + Send + Sync + 'static,
    {
        let address = Arc::as_ptr(&self.shared).addr();
        let pool = Arc::clone(&self.shared);
        let revoked = async move {
            tokio::task::coop::unconstrained(pool.ext.revoked.wait()).await;
        };
        let options = Options::new().name("lease").stop_when(revoked);
        options.with(self.get(), async move |lease| {
            let mut body = pin!(body(lease));
            poll_fn(|cx| {
                let _noted = Noted::new(address);
                body.as_mut().poll(cx)
            })
            .await
        })
    }
}
