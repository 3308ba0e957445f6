//! How the pool makes, checks, cleans and closes connections.
//!
//! # Invariants
//! 1. After a use that completed a connection is let go as it is only if its place is known, or if the user has
//!    switched the check off: `assess_completed` is asked on every path on which such a use ends.
//! 2. A hook is a user, too: what it was given is proved again before it is lent.
//! 3. Nobody waits for a statement while it has the turn to close.

use sqlx::{ConnectOptions as _, Connection as _};
use tenure::{AsyncExit as _, Outcome};
use tenure_pool::{Context, CreateContext, Hooks, LeaseEnd, Manager, Next};

use super::nested::{begin_test, end_use};
use super::{Connections, Hook, SessionReset};
use crate::backend::Restored;
use crate::cancel::stop_abandoned;
use crate::lease::Holder;
use crate::patience::within;
use crate::run::failure_says;
use crate::{Backend, Connect, Connection, Error, Retry, Stage};

impl<DB: Backend> Connections<DB> {
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
        // Also where the session is kept: a use may have changed what the hook had set.
        call(self.after_connect.as_ref(), holder).await.map_err(failed)
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
        call(self.on_reset.as_ref(), holder).await.map_err(|error| Error::new::<DB>(Stage::Reset, error))
    }

    async fn check(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        connection.tidy().await
    }

    fn hooks(&self) -> Hooks {
        Hooks::default().on_get(self.on_get.is_some()).on_return(self.on_return.is_some())
    }

    async fn on_get(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        let called = call(self.on_get.as_ref(), connection.holder_mut()).await;
        called.map_err(|error| Error::new::<DB>(Stage::Get, error))
    }

    async fn on_return(&self, connection: &mut Connection<DB>, _: Context) -> Result<(), Error> {
        let called = call(self.on_return.as_ref(), connection.holder_mut()).await;
        called.map_err(|error| Error::new::<DB>(Stage::Reset, error))
    }

    async fn close(&self, connection: Connection<DB>, _: Context) -> Result<(), Error> {
        self.close_in_turn(connection).await
    }

    fn is_broken(&self, connection: &Connection<DB>) -> bool {
        !connection.is_idle()
    }

    fn assess_completed(&self, connection: &mut Connection<DB>) -> Next {
        let holder = connection.holder_mut();
        if holder.is_closed() || holder.is_lost() {
            return Next::Close;
        }
        if holder.is_in_test() {
            return if holder.is_in_use() { Next::Check } else { Next::Keep };
        }
        if self.session_reset == SessionReset::Always {
            return Next::Reset;
        }
        if holder.is_proved() {
            return Next::Keep;
        }
        // One that is away is waited for.
        if self.check_completed || holder.connection().is_none() {
            return Next::Check;
        }
        holder.release();
        if connection.is_idle() { Next::Keep } else { Next::Close }
    }

    fn assess(&self, connection: &mut Connection<DB>, end: LeaseEnd<'_>) -> Next {
        if connection.is_closed() {
            return Next::Close;
        }
        let LeaseEnd::Failed(failure) = end else { return Next::Reset };
        let is_spoilt = match &self.close_when {
            Some(rule) => rule(failure),
            None => failure_says(failure, DB::is_spoilt, DB::shows_spoilt),
        };
        if is_spoilt { Next::Close } else { Next::Reset }
    }

    fn is_permanent(&self, error: &Error) -> bool {
        error.is_permanent()
    }
}
