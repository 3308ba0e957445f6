//! Lending: how a connection moves into a transaction, on into a savepoint, and back.
//!
//! A transaction has to own its connection: its exit may end long after the one who lent it has gone on. So the
//! connection moves out of its [`Holder`] into a [`Lease`], which holds it in a holder of its own (a savepoint
//! leases it from there), and comes home when the lease ends. What both ends share is the [`Berth`].
//!
//! # Invariants
//! 1. A connection is in one place: in one holder, or in one berth on its way back, or nowhere any more.
//! 2. A lease is marked dirty before the first statement that needs an end is sent, and clean after that end
//!    was acknowledged. It is never dirty by omission: only the two functions that say so change it.
//! 3. A dirty lease never brings a connection home as it is. To a connection's berth it brings nothing: the
//!    connection is dropped, which closes it. To a transaction's berth it brings the connection doomed, and a
//!    doomed transaction is rolled back whatever its body says.
//! 4. A berth is `Away` exactly while one lease is out. Each lease settles its berth once, at the latest in its
//!    `Drop`, on every path: those who wait for a connection never wait for one that cannot come.
//! 5. A holder that goes leaves the berth to the lease, and what is brought back goes with it: nobody wants it.
//! 6. No lock is held across an await, nor while a connection is dropped.
//! 7. A line is proved only while nobody but this crate has had the connection since an echo came back on it. Whoever
//!    gives a mutable reference to a user takes the mark away.
//! 8. A line that is lost is sent nothing more by this crate, and is never clean again: limits do not add up.
//! 9. Nobody outside of a transaction has a mutable reference to a connection whose count is one too high: see the
//!    module `line`.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tenure::{AsyncExit, Outcome};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::cancel::Canceller;
use crate::line::Line;
use crate::patience::Patience;
use crate::{Backend, Error};

/// How long the next user of a connection waits for it to come back from a transaction that was left behind.
pub(crate) const HAND_BACK_LIMIT: Duration = Duration::from_secs(10);

/// Where a connection is on its way between two owners.
enum Place<DB: Backend> {
    /// The holder has it, or has taken it out again.
    Home,
    /// A lease has it.
    Away,
    /// A lease has brought it back; the holder has not looked yet.
    Back(Line<DB>),
    /// It was closed.
    Gone,
}

/// The place where a lease brings a connection back, shared by lease and holder.
struct Berth<DB: Backend> {
    place: Mutex<Place<DB>>,
    settled: Notify,
    /// Whether what comes back is part of a transaction, which can be doomed and rolled back.
    in_transaction: bool,
}

/// The owner of a connection, which may be lent.
pub(crate) struct Holder<DB: Backend> {
    /// The connection, while it is not lent. It is a `OnceLock` so that a shared reference can take
    /// in what has come back.
    here: OnceLock<Line<DB>>,
    /// Made when the connection is lent for the first time.
    berth: Option<Arc<Berth<DB>>>,
    in_transaction: bool,
    /// `true` if its manager has let it go as it is after a use that completed, and nobody has had it since.
    #[cfg(feature = "pool")]
    released: bool,
}

/// A connection on loan.
pub(crate) struct Lease<DB: Backend> {
    holder: Holder<DB>,
    /// Where it comes back to; `None` if it was given for good.
    home: Option<Arc<Berth<DB>>>,
    dirty: bool,
    /// What has the holder it comes back to, where nobody else has. Dropped after the berth is settled.
    keeper: Option<Keeper<DB>>,
}

/// What has the holder of a connection: a lease of a pool.
pub(crate) trait Keep<DB: Backend>: Send + Sync {
    #[cfg(feature = "pool")]
    fn holder(&self) -> &Holder<DB>;

    fn holder_mut(&mut self) -> &mut Holder<DB>;

    /// Gives the holder back, told how its use ended.
    fn give_back<'o>(self: Box<Self>, outcome: Outcome<'o>) -> Pin<Box<dyn Future<Output = ()> + Send + 'o>>;
}

/// A keeper, as a resource.
pub(crate) struct Keeper<DB: Backend>(pub(crate) Box<dyn Keep<DB>>);

impl<DB: Backend> AsyncExit for Keeper<DB> {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        self.0.give_back(outcome).await;
        Ok(())
    }
}

impl<DB: Backend> Berth<DB> {
    fn place(&self) -> MutexGuard<'_, Place<DB>> {
        // A poisoned lock is in order: no code that can panic runs while it is held.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles the berth: the lease is over.
    fn settle(&self, line: Option<Line<DB>>) {
        // What is refused is dropped here, before the lock is taken.
        let line = line.filter(|line| self.in_transaction || !line.doomed);
        *self.place() = line.map_or(Place::Gone, Place::Back);
        self.settled.notify_waiters();
    }

    /// Waits until nothing is away.
    async fn until_settled(&self) {
        loop {
            // Listen first, look then: a notification between the two is not missed.
            let settled = self.settled.notified();
            if !matches!(*self.place(), Place::Away) {
                return;
            }
            settled.await;
        }
    }
}

impl<DB: Backend> Holder<DB> {
    /// The holder of a connection on which no transaction is open, and of which nothing else is known.
    pub(crate) fn new(connection: DB::Connection) -> Self {
        Self::of(Line::new(connection, false), false)
    }

    /// The same, of one that was opened just now, and on which statements can perhaps be stopped.
    pub(crate) fn opened(
        connection: DB::Connection,
        canceller: Option<Arc<Canceller<DB>>>,
        interrupt: Option<Arc<AtomicBool>>,
    ) -> Self {
        Self::of(Line { canceller, interrupt, ..Line::new(connection, true) }, false)
    }

    fn of(line: Line<DB>, in_transaction: bool) -> Self {
        Self {
            here: OnceLock::from(line),
            berth: None,
            in_transaction,
            #[cfg(feature = "pool")]
            released: false,
        }
    }

    /// Takes in what has come back, if anything has, and looks at it.
    fn line(&self) -> Option<&Line<DB>> {
        if let Some(line) = self.here.get() {
            return Some(line);
        }
        let mut place = self.berth.as_ref()?.place();
        // Two may look at once: it is taken in under the lock.
        match std::mem::replace(&mut *place, Place::Home) {
            Place::Back(line) => self.here.get_or_init(|| line),
            other => {
                *place = other;
                self.here.get()?
            }
        };
        drop(place);
        self.here.get()
    }

    fn line_mut(&mut self) -> Option<&mut Line<DB>> {
        self.line()?;
        self.here.get_mut()
    }

    /// The connection, if it is here.
    pub(crate) fn connection(&self) -> Option<&DB::Connection> {
        self.line().map(|line| &line.connection)
    }

    /// The connection for a user, if it is here.
    pub(crate) fn connection_mut(&mut self) -> Option<&mut DB::Connection> {
        let in_transaction = self.in_transaction;
        #[cfg(feature = "pool")]
        {
            self.released = false;
        }
        let line = self.line_mut()?;
        line.proved = false;
        if !in_transaction {
            line.leave_to_user();
        }
        Some(&mut line.connection)
    }

    /// Whether its place in the protocol is known.
    pub(crate) fn is_proved(&self) -> bool {
        self.line().is_some_and(|line| line.proved && !line.lost)
    }

    /// Whether an answer on it did not come, or was none.
    #[cfg(feature = "pool")]
    pub(crate) fn is_lost(&self) -> bool {
        self.line().is_some_and(|line| line.lost)
    }

    /// Gives the connection up: it is not clean again.
    #[cfg(all(feature = "pool", any(feature = "postgres", feature = "mysql")))]
    pub(crate) fn give_up(&mut self) {
        if let Some(line) = self.line_mut() {
            line.lost = true;
        }
    }

    /// To be called with what came of a statement of this crate's whose success is a proof of the connection's place.
    pub(crate) fn note<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if let Some(line) = self.line_mut() {
            match &answer {
                Ok(_) => line.proved = true,
                Err(error) if DB::is_answer(error) => {}
                Err(_) => line.lost = true,
            }
        }
        answer
    }

    /// What stops the statements of the connection while it is up, if it is here and there is such a thing.
    pub(crate) fn interrupt(&self) -> Option<Arc<AtomicBool>> {
        self.line()?.interrupt.clone()
    }

    /// How to stop what runs on the connection, if it is here and that is wanted.
    pub(crate) fn canceller(&self) -> Option<Arc<Canceller<DB>>> {
        self.line()?.canceller.clone()
    }

    /// Whether all that is done on the connection is inside a transaction that is always rolled back.
    pub(crate) fn is_in_test(&self) -> bool {
        self.line().is_some_and(|line| line.in_test)
    }

    #[cfg(feature = "pool")]
    pub(crate) fn set_in_test(&mut self) {
        if let Some(line) = self.line_mut() {
            line.in_test = true;
        }
    }

    /// Notes whether a use has a savepoint in a test's transaction; tells whether one had.
    #[cfg(feature = "pool")]
    pub(crate) fn set_in_use(&mut self, is: bool) -> bool {
        self.line_mut().is_some_and(|line| std::mem::replace(&mut line.in_use, is))
    }

    /// Tells whether a use has a savepoint in a test's transaction.
    #[cfg(feature = "pool")]
    pub(crate) fn is_in_use(&self) -> bool {
        self.line().is_some_and(|line| line.in_use)
    }

    /// Notes that the manager lets it go as it is, after a use that completed.
    #[cfg(feature = "pool")]
    pub(crate) fn release(&mut self) {
        self.released = true;
    }

    /// Returns `true` if the next user may have it without a word: its place is known, or its manager has said so, or it is away.
    #[cfg(feature = "pool")]
    pub(crate) fn is_released(&self) -> bool {
        self.released || self.line().is_none() || self.is_proved()
    }

    /// Puts another connection in the place of one that was taken out.
    #[cfg(feature = "pool")]
    pub(crate) fn replace(&mut self, other: Self) {
        let Self { here, berth, .. } = other;
        (self.here, self.berth) = (here, berth);
    }

    /// Whether the connection is neither here nor on its way back.
    #[cfg(feature = "pool")]
    pub(crate) fn is_closed(&self) -> bool {
        let is_away = || self.berth.as_ref().is_some_and(|berth| matches!(*berth.place(), Place::Away));
        self.line().is_none() && !is_away()
    }

    /// The connection for a user, once it has come back from whom it was lent to.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn ready(&mut self) -> Result<&mut DB::Connection, Error> {
        self.wait().await?;
        self.connection_mut().ok_or_else(Error::closed)
    }

    /// Waits until the connection has come back from whom it was lent to.
    pub(crate) async fn wait(&mut self) -> Result<(), Error> {
        if self.line().is_none()
            && let Some(berth) = self.berth.as_deref()
        {
            timeout(HAND_BACK_LIMIT, berth.until_settled())
                .await
                .map_err(|_elapsed| Error::still_lent(HAND_BACK_LIMIT))?;
        }
        if self.line().is_some() { Ok(()) } else { Err(Error::closed()) }
    }

    /// Has the place of the connection proved, unless it is known.
    pub(crate) async fn prove(&mut self, limit: Option<Duration>) -> Result<(), sqlx::Error> {
        if self.is_proved() {
            return Ok(());
        }
        let (connection, patience) = self.in_reach()?;
        let answer = patience.within(limit, Box::pin(DB::prove(connection))).await;
        self.note(answer)
    }

    /// The connection with the timer for its answers, if it is here and not lost.
    pub(crate) fn in_reach(&mut self) -> Result<(&mut DB::Connection, &mut Patience), sqlx::Error> {
        let line = self.line_in_reach()?;
        line.settle_count();
        Ok((&mut line.connection, &mut line.patience))
    }

    /// The connection with what is known of it, if it is here and not lost. The count may be one too high.
    pub(crate) fn line_in_reach(&mut self) -> Result<&mut Line<DB>, sqlx::Error> {
        self.line_mut().filter(|line| !line.lost).ok_or_else(out_of_place)
    }

    /// Says that sqlx counts a transaction as open that has ended: see the module `line`.
    pub(crate) fn set_overcounted(&mut self) {
        if let Some(line) = self.line_mut() {
            line.overcounted = true;
        }
    }

    /// Says whether the place of the connection is to be proved before a `COMMIT` is sent.
    #[cfg(feature = "pool")]
    pub(crate) fn set_proves_first(&mut self, yes: bool) {
        if let Some(line) = self.line_mut() {
            line.proves_first = yes;
        }
    }

    /// Returns `true` if sqlx counts a transaction as open that has ended.
    #[cfg(feature = "pool")]
    pub(crate) fn is_overcounted(&self) -> bool {
        self.line().is_some_and(|line| line.overcounted)
    }

    /// Lends the connection, if it is here.
    pub(crate) fn lend(&mut self) -> Option<Lease<DB>> {
        self.line()?;
        let line = self.here.take()?;
        let in_transaction = self.in_transaction;
        let berth = self.berth.get_or_insert_with(|| {
            Arc::new(Berth { place: Mutex::new(Place::Home), settled: Notify::new(), in_transaction })
        });
        *berth.place() = Place::Away;
        Some(Lease {
            holder: Holder::of(line, true),
            home: Some(Arc::clone(berth)),
            dirty: false,
            keeper: None,
        })
    }

    /// Gives the connection for good, if it is here: who ends the transaction also closes it.
    pub(crate) fn give(&mut self) -> Option<Lease<DB>> {
        self.line()?;
        let line = self.here.take()?;
        Some(Lease { holder: Holder::of(line, true), home: None, dirty: false, keeper: None })
    }

    /// Takes the connection out for good, if it is here. For a user, take it [mutably](Self::connection_mut) first.
    pub(crate) fn take(&mut self) -> Option<DB::Connection> {
        self.line()?;
        self.here.take().map(|line| line.connection)
    }
}

impl<DB: Backend> Lease<DB> {
    pub(crate) fn holder(&self) -> &Holder<DB> {
        &self.holder
    }

    pub(crate) fn holder_mut(&mut self) -> &mut Holder<DB> {
        &mut self.holder
    }

    /// Takes the keeper along, until the lease ends.
    pub(crate) fn keep(mut self, keeper: Keeper<DB>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// Whether the connection is that of a keeper, which others will use.
    pub(crate) fn is_kept(&self) -> bool {
        self.keeper.is_some()
    }

    /// Ends the lease: the connection goes home, and the keeper is the caller's to give back.
    pub(crate) fn end(mut self) -> Option<Keeper<DB>> {
        self.keeper.take()
    }

    /// Returns `true` if the commit needs no trip of its own: the connection is that of a pool, and of nobody's count.
    pub(crate) fn may_commit_at_once(&self) -> bool {
        let is_doomed = self.is_doomed();
        self.is_kept() && !is_doomed && self.holder.line().is_some_and(Line::may_commit_at_once)
    }

    /// Whether the connection was given for good.
    pub(crate) fn is_for_good(&self) -> bool {
        self.home.is_none()
    }

    /// To be called before a statement is sent that needs an end.
    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// To be called when that end was acknowledged, or the statement is known to have had no effect.
    pub(crate) fn mark_clean(&mut self) {
        self.dirty = false;
    }

    /// Whether a savepoint inside was not undone, so that nothing here may be kept.
    pub(crate) fn is_doomed(&self) -> bool {
        self.holder.line().is_some_and(|line| line.doomed)
    }

    /// Says that what is doomed has been rolled back.
    pub(crate) fn absolve(&mut self) {
        if let Some(line) = self.holder.line_mut() {
            line.doomed = false;
        }
    }
}

const OUT_OF_PLACE: &str =
    "the connection has lost its place in the protocol: a statement on it was abandoned half-way";

/// The error of a connection whose place in the protocol is not known.
pub(crate) fn out_of_place() -> sqlx::Error {
    sqlx::Error::Protocol(OUT_OF_PLACE.to_owned())
}

/// Returns `true` if it is that of [`out_of_place`].
pub(crate) fn is_out_of_place(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Protocol(message) if message == OUT_OF_PLACE)
}

impl<DB: Backend> Drop for Lease<DB> {
    fn drop(&mut self) {
        self.holder.line();
        let line = self.holder.here.take().map(|mut line| {
            line.doomed |= self.dirty;
            line
        });
        if let Some(home) = &self.home {
            home.settle(line);
        }
    }
}
