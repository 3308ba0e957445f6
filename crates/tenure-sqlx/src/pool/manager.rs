//! How the pool makes, checks, cleans and closes connections.
//!
//! # Invariants
//! 1. A connection that was given back after a use that completed is told from others by a mark of its own, which is
//!    taken off where it is read: the pool knows only of uses that did not complete, and lends others at once.
//! 2. A hook is a user, too: what it was given is proved again before it is lent.
//! 3. Nobody waits for a statement while it has the turn to close.

use sqlx::{ConnectOptions as _, Connection as _};
use tenure::{AsyncExit as _, Outcome};
use tenure_pool::{Context, CreateContext, LeaseEnd, Manager, Next, Why};

use super::nested::{begin_test, end_use};
use super::{Connections, Hook, SessionReset};
use crate::backend::Restored;
use crate::cancel::stop_abandoned;
use crate::lease::{Care, Holder};
use crate::patience::within;
use crate::run::failure_says;
use crate::{Backend, Connect, Connection, Error, Retry, Stage};

impl<DB: Backend> Connections<DB> {
    /// What is to be done after a use that completed.
    fn care(&self) -> Care {
        match self.session_reset {
            SessionReset::Always => Care::Restore,
            _ if self.on_return.is_some() => Care::Call,
            SessionReset::Never | SessionReset::OnFailure if self.check_completed => Care::Tidy,
            SessionReset::Never | SessionReset::OnFailure => Care::None,
        }
    }

    /// Opens a connection, without a word of the hook.
    async fn open(&self) -> Result<Connection<DB>, Error> {
        if self.keeps_one {
            let options = self.options();
            let kept = self.kept.get_or_try_init(|| async move { options.connect().await });
            kept.await.map_err(|error| Error::new::<DB>(Stage::Connect, error))?;
        }
        // The pool itself pauses between attempts, for all who wait.
        let connect = Connect::<DB>::new(self.options()).retry(Retry::never()).cancel(self.cancel.clone());
        let mut connection = connect.await?;
        connection.holder_mut().set_proves_first(self.proves_first);
        Ok(connection)
    }

    /// Sets the session back, and calls the hooks.
    async fn restore(&self, holder: &mut Holder<DB>) -> Result<(), Error> {
        let failed = |error| Error::new::<DB>(Stage::Reset, error);
        let (connection, patience) = holder.in_reach().map_err(failed)?;
        let restored = patience.within(DB::ANSWER_LIMIT, DB::restore(connection)).await.map_err(failed)?;
        if restored == Restored::Replace {
            // First the old one, so that there is never one too many. Why it could not take leave is nobody's trouble.
            if let Some(old) = holder.take() {
                let _ = within(DB::ANSWER_LIMIT, old.close()).await;
            }
            holder.replace(self.open().await?.into_holder());
        }
        if restored != Restored::Kept {
            call(self.after_connect.as_ref(), holder).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Closes a connection, after what still runs on it has ended.
    async fn close_in_turn(&self, mut connection: Connection<DB>) -> Result<(), Error> {
        let holder = connection.holder_mut();
        // Whoever waits for a transaction or for a statement keeps nobody from closing; why it failed the exit says.
        let is_here = holder.wait().await.is_ok();
        if !DB::CLOSES_IN_TURN || !is_here {
            return connection.exit(Outcome::Completed).await;
        }
        let _ = stop_abandoned(holder, DB::ANSWER_LIMIT).await;
        if let Ok((raw, _)) = holder.in_reach() {
            let _ = DB::skip(raw).await;
        }
        let _turn = self.closing.lock().await;
        connection.exit(Outcome::Completed).await
    }
}

/// Calls a hook, if there is one, and has the place of the connection proved after it.
async fn call<DB: Backend>(hook: Option<&Hook<DB>>, holder: &mut Holder<DB>) -> Result<(), sqlx::Error> {
    if let Some(hook) = hook
        && let Some(connection) = holder.connection_mut()
    {
        hook(connection).await?;
        holder.prove(DB::ANSWER_LIMIT).await?;
    }
    Ok(())
}

impl<DB: Backend> Manager for Connections<DB> {
    type Resource = Connection<DB>;
    type Error = Error;

    async fn create(&self, _: CreateContext) -> Result<Connection<DB>, Error> {
        let mut connection = self.open().await?;
        connection.holder_mut().set_care(self.care());
        if let Err(error) = call(self.after_connect.as_ref(), connection.holder_mut()).await {
            let failed = Error::new::<DB>(Stage::AfterConnect, error);
            return Err(failed.with_cleanup(self.close_in_turn(connection).await.err()));
        }
        if self.rolled_back
            && let Err(error) = begin_test(connection.holder_mut()).await
        {
            let failed = Error::new::<DB>(Stage::Begin, error);
            return Err(failed.with_cleanup(self.close_in_turn(connection).await.err()));
        }
        Ok(connection)
    }

    async fn reset(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        let holder = connection.holder_mut();
        let rolling_back = |error| Error::new::<DB>(Stage::Rollback, error);
        holder.wait().await?;
        stop_abandoned(holder, DB::ANSWER_LIMIT).await.map_err(rolling_back)?;
        if holder.is_in_test() {
            return end_use(holder, DB::ANSWER_LIMIT).await.map_err(rolling_back);
        }
        let (raw, patience) = holder.in_reach().map_err(rolling_back)?;
        let answer = patience.within(DB::ANSWER_LIMIT, DB::roll_back(raw)).await;
        holder.note(answer).map_err(rolling_back)?;
        if self.session_reset != SessionReset::Never {
            self.restore(holder).await?;
        }
        for hook in [&self.on_reset, &self.on_return] {
            let called = call(hook.as_ref(), holder).await;
            called.map_err(|error| Error::new::<DB>(Stage::Reset, error))?;
        }
        Ok(())
    }

    async fn check(&self, connection: &mut Connection<DB>, context: Context) -> Result<(), Error> {
        connection.tidy().await?;
        // Of uses only those come here that completed, under another name.
        if matches!(context.why, Why::Cancelled) {
            let called = call(self.on_return.as_ref(), connection.holder_mut()).await;
            called.map_err(|error| Error::new::<DB>(Stage::Reset, error))?;
        }
        Ok(())
    }

    async fn close(&self, connection: Connection<DB>, _: Context) -> Result<(), Error> {
        self.close_in_turn(connection).await
    }

    fn is_broken(&self, connection: &Connection<DB>) -> bool {
        !connection.is_idle()
    }

    fn assess(&self, connection: &mut Connection<DB>, end: LeaseEnd<'_>) -> Next {
        let completed = connection.holder_mut().take_completed();
        if connection.is_closed() {
            return Next::Close;
        }
        match (completed, end) {
            (Some(_), _) if connection.holder().is_in_test() => Next::Check,
            (Some(Care::Tidy | Care::Call), _) => Next::Check,
            (None, LeaseEnd::Failed(failure)) => {
                let is_spoilt = match &self.close_when {
                    Some(rule) => rule(failure),
                    None => failure_says(failure, DB::is_spoilt, DB::shows_spoilt),
                };
                if is_spoilt { Next::Close } else { Next::Reset }
            }
            _ => Next::Reset,
        }
    }

    fn is_permanent(&self, error: &Error) -> bool {
        error.is_permanent()
    }
}
