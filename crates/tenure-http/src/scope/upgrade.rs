//! What an upgraded connection is used for, as a part of the server.
//!
//! # Invariants
//! 1. As long as an upgrade lives, the exit of its connection waits, and so does the server's, within its limits.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tenure::{AsyncExit, BodyFn, Options, Stopped};
use tokio::sync::mpsc;

use super::RequestScope;
use crate::stop::{Link, OfServer, Stages};

/// The use of an upgraded connection, tied to the server. Made by [`RequestScope::upgrade`].
///
/// The connection itself counts among the server's until whoever has it drops it, with or without this. What this adds is
/// that the server awaits the exits of what is entered for it.
#[must_use = "what is entered without it is not awaited by the server"]
pub struct Upgrade {
    server: OfServer,
    alive: Option<mpsc::Sender<Infallible>>,
}

impl RequestScope {
    /// Ties what the request's connection is upgraded to, such as a tunnel or a web socket, to the server.
    ///
    /// A request's scope closes when its answer has been sent: for an upgrade that is before its use begins. Call this in the
    /// handler, and take what it returns to where the connection is used. For the web sockets of axum there is
    /// `RequestScope::web_socket`, with the feature `ws`.
    ///
    /// On another server than [`serve`](crate::serve())'s nobody awaits it.
    pub fn upgrade(&self) -> Upgrade {
        let server = self.server().clone();
        let alive = server.0.as_ref().and_then(|link| link.alive.upgrade());
        if let Some(link) = &server.0 {
            link.upgrades.fetch_add(1, Relaxed);
        }
        Upgrade { server, alive }
    }
}

impl Upgrade {
    /// Enters `context`, runs `body` with the resource, and exits: [`tenure::with`], of which the server knows.
    ///
    /// When the server's grace is over the body is dropped, and the exit is told that it was cancelled. It may still send
    /// something over the connection, such as a close frame, within half of the server's
    /// [`cut_timeout`](crate::Serve::cut_timeout). To end before that, wait for
    /// [`RequestScope::stopping`](crate::RequestScope::stopping) in the body.
    ///
    /// So it is when the client is gone and nobody reads: over HTTP/1.1 after the server's
    /// [`peer_lost_limit`](crate::Serve::peer_lost_limit) from its reset, over HTTP/2 when the connection has ended.
    ///
    /// # Errors
    /// Those of [`tenure::with`], and [`Stopped`] when the server's grace is over or the client is gone.
    ///
    /// # Panics
    /// As [`tenure::with`].
    ///
    /// # Cancel safety
    /// As [`tenure::with`].
    #[track_caller]
    pub fn run<C, R, N, T, E, F>(self, context: C, body: F) -> impl Future<Output = Result<T, E>> + Send
    where
        C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
        R: AsyncExit,
        F: for<'r> BodyFn<&'r mut R, Result<T, E>, Fut: Send> + Send,
        N: Send,
        T: Send,
        E: From<N> + From<R::Error> + From<Stopped> + Debug + Send + Sync + 'static,
    {
        let server = self.server.clone();
        let over = async move {
            tokio::select! {
                () = server.cut() => {}
                () = server.gone() => {}
            }
        };
        let server = self.server.clone();
        let is_left = move || server.stages().is_some_and(Stages::are_begun);
        let running = Options::new().stop_when(over).stays_while(is_left).with(context, body);
        async move {
            let ended = running.await;
            drop(self);
            ended
        }
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        if let OfServer(Some(link)) = &self.server {
            let link: &Arc<Link> = link;
            link.upgrades.fetch_sub(1, Relaxed);
        }
    }
}

impl Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("is_awaited", &self.alive.is_some()).finish()
    }
}
