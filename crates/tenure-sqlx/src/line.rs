//! A connection, and what this crate knows of it.
//!
//! sqlx counts the transactions that are open on a connection: that makes a nested `begin` a savepoint. Only its own
//! `commit` and `rollback` lower the count, and each sends one statement alone and waits for the answer. Where the
//! question whether there is anything to commit and the `COMMIT` go in one message, the count stays at one.
//!
//! # Invariants
//! 1. `overcounted` says that sqlx counts one transaction and none is open. It is set only behind a `COMMIT` of this crate
//!    that was acknowledged, on a connection that its pool has lent for a transaction.
//! 2. The next transaction takes the count over: its `BEGIN` is sent as any other statement. Whoever else gets the
//!    connection mutably, user or crate, gets it with the count set right.
//! 3. Setting it right takes a trip. So it is left too high only where no plain use came between the last two
//!    transactions: connections that see both in turn go on as before.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use std::task::{Context, Waker};

use crate::Backend;
use crate::cancel::Canceller;
use crate::patience::Patience;

/// A connection, and whether the transaction open on it may still commit.
pub(crate) struct Line<DB: Backend> {
    pub(crate) connection: DB::Connection,
    pub(crate) doomed: bool,
    /// How to stop what runs on it, where that is wanted.
    pub(crate) canceller: Option<Arc<Canceller<DB>>>,
    /// Stops what runs on it while it is up, where there is such a thing.
    pub(crate) interrupt: Option<Arc<AtomicBool>>,
    pub(crate) patience: Patience,
    /// `true` if its place in the protocol is known: see [`Driver::prove`](crate::backend::Driver::prove).
    pub(crate) proved: bool,
    /// `true` if an answer did not come, or was none: whatever is waited for next would not come either.
    pub(crate) lost: bool,
    /// `true` if all that is done on it is inside a transaction that is always rolled back.
    pub(crate) in_test: bool,
    /// `true` if a use of it has a savepoint in there.
    #[cfg(feature = "pool")]
    pub(crate) in_use: bool,
    /// `true` if sqlx counts a transaction as open that has ended.
    pub(crate) overcounted: bool,
    /// `true` if a user has had it outside of a transaction since the last one began.
    pub(crate) used_plainly: bool,
    /// `true` if that was so between the last two transactions.
    pub(crate) was_used_plainly: bool,
    /// `true` if its place is to be proved before a `COMMIT` is sent, not along with it.
    pub(crate) proves_first: bool,
}

impl<DB: Backend> Line<DB> {
    pub(crate) fn new(connection: DB::Connection, proved: bool) -> Self {
        let (canceller, interrupt) = (None, None);
        Self {
            connection,
            doomed: false,
            canceller,
            interrupt,
            patience: Patience::default(),
            proved,
            lost: false,
            in_test: false,
            #[cfg(feature = "pool")]
            in_use: false,
            overcounted: false,
            used_plainly: false,
            was_used_plainly: false,
            proves_first: false,
        }
    }

    /// To be called before a user gets the connection outside of a transaction.
    pub(crate) fn leave_to_user(&mut self) {
        self.used_plainly = true;
        self.settle_count();
    }

    /// Sets sqlx's count right.
    pub(crate) fn settle_count(&mut self) {
        if std::mem::take(&mut self.overcounted) {
            DB::lower_count(&mut self.connection);
        }
    }

    /// To be called when a transaction has begun: the count is right.
    pub(crate) fn begun(&mut self) {
        self.overcounted = false;
        self.was_used_plainly = std::mem::take(&mut self.used_plainly);
    }

    /// Returns `true` if the transaction that is open is to be committed without a trip for the question whether it is whole.
    pub(crate) fn may_commit_at_once(&self) -> bool {
        let is_plain = self.proves_first || self.was_used_plainly || self.in_test;
        DB::COMMITS_AT_ONCE && !is_plain && DB::depth(&self.connection) == 1
    }
}

/// Sends a statement without waiting for the answer: sqlx takes it in before it sends the next one.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn send_off<T>(statement: impl Future<Output = T>) {
    // What the database does not take at once stays with sqlx, in its order.
    let _ = pin!(statement).poll(&mut Context::from_waker(Waker::noop()));
}
