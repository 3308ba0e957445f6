//! `LISTEN` as a context, which connects again and tells that there may be a gap.
//!
//! # Invariants
//! 1. What was not received is told: each time a connection was lost, a [`Heard::Gap`] comes before the next
//!    notification.
//! 2. A gap is told only when the listener listens again: whoever looks at the tables then misses nothing.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPool, PgPoolOptions};
use tenure::{AsyncExit, Outcome};
use tokio::time::{sleep, timeout};

use crate::{Error, Stage};

/// The longest pause between two attempts to connect again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long one attempt may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long taking leave of the server may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Listens to channels on a connection of its own, as a context.
///
/// ```no_run
/// use sqlx::postgres::PgConnectOptions;
/// use tenure::with;
/// use tenure_sqlx::postgres::{Heard, listen};
///
/// # async fn refresh() {}
/// # async fn example(options: PgConnectOptions) -> Result<(), tenure_sqlx::Error> {
/// with(listen(options, ["orders"]), async |listener| {
///     loop {
///         match listener.hear().await {
///             Heard::Notification(notification) => println!("{}", notification.payload()),
///             // Some may have been missed: look for yourself.
///             Heard::Gap => refresh().await,
///             _ => {}
///         }
///     }
/// })
/// .await
/// # }
/// ```
///
/// # Errors
/// Entering fails at [`Stage::Connect`]. The exit does not fail.
///
/// # Cancel safety
/// Dropped before it is entered, nothing is open.
pub fn listen<C: Into<String>>(options: PgConnectOptions, channels: impl IntoIterator<Item = C>) -> Listen {
    Listen { options, channels: channels.into_iter().map(Into::into).collect() }
}

/// Channels to be listened to; made by [`listen`].
#[must_use = "nothing is listened to before it is entered, with `tenure::with` for instance"]
pub struct Listen {
    options: PgConnectOptions,
    channels: Vec<String>,
}

impl Listen {
    async fn enter(self) -> Result<Listener, Error> {
        let failed = |error| Error::new::<sqlx::Postgres>(Stage::Connect, error);
        // The listener of sqlx's takes its connections from a pool of sqlx's.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_LIMIT);
        let pool = pool.max_lifetime(None).idle_timeout(None).connect_lazy_with(self.options);
        let mut listener = PgListener::connect_with(&pool).await.map_err(failed)?;
        // First the gap is told, then it is connected again, in `hear`.
        listener.eager_reconnect(false);
        listener.listen_all(self.channels.iter().map(String::as_str)).await.map_err(failed)?;
        Ok(Listener { pool, listener: Some(listener), channels: self.channels, has_gap: false })
    }
}

impl IntoFuture for Listen {
    type Output = Result<Listener, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.enter())
    }
}

/// What a listener hears.
#[derive(Debug)]
#[non_exhaustive]
pub enum Heard {
    /// A notification.
    Notification(PgNotification),
    /// The connection was lost and is there again. What was notified meanwhile is not heard any more.
    Gap,
}

/// A connection that listens: the resource that a body gets.
#[must_use = "a listener that is dropped, not exited, is closed in the background"]
pub struct Listener {
    pool: PgPool,
    /// `None` while it is to be connected again.
    listener: Option<PgListener>,
    channels: Vec<String>,
    has_gap: bool,
}

impl Listener {
    /// Waits for the next notification, or for the connection to be there again after it was lost.
    ///
    /// # Cancel safety
    /// Nothing is lost: a gap that was noticed is told at the next call.
    pub async fn hear(&mut self) -> Heard {
        let mut pause = Duration::from_millis(50);
        loop {
            let Some(listener) = &mut self.listener else {
                if let Ok(Ok(listener)) = timeout(CONNECT_LIMIT, connect(&self.pool, &self.channels)).await {
                    self.listener = Some(listener);
                } else {
                    sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                continue;
            };
            if std::mem::take(&mut self.has_gap) {
                return Heard::Gap;
            }
            match listener.try_recv().await {
                Ok(Some(notification)) => return Heard::Notification(notification),
                Ok(None) | Err(_) => {
                    // Whatever went wrong, a new connection is what helps.
                    self.has_gap = true;
                    self.listener = None;
                }
            }
        }
    }
}

async fn connect(pool: &PgPool, channels: &[String]) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen_all(channels.iter().map(String::as_str)).await?;
    Ok(listener)
}

impl AsyncExit for Listener {
    type Error = Error;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Error> {
        drop(self.listener);
        // What does not take leave in time is closed by its drop.
        let _ = timeout(CLOSE_LIMIT, self.pool.close()).await;
        Ok(())
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("channels", &self.channels)
            .field("is_connected", &self.listener.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listen").field("channels", &self.channels).finish_non_exhaustive()
    }
}
