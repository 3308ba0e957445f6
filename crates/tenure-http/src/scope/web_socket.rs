//! Web sockets of axum as contexts: left, they are closed as the protocol has it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tenure::{AsyncExit, BodyFn, Outcome, Stopped};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::RequestScope;
use crate::stop::OfServer;

/// How long the client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A web socket that is closed when it is left; it derefs to axum's. Made by [`RequestScope::web_socket`].
#[derive(Debug)]
pub struct Socket {
    socket: WebSocket,
    server: OfServer,
}

impl RequestScope {
    /// Answers the request by upgrading it to a web socket, and runs `body` with it, over HTTP/1.1 or HTTP/2.
    ///
    /// ```
    /// use axum::extract::ws::WebSocketUpgrade;
    /// use axum::response::Response;
    /// use tenure_http::RequestScope;
    ///
    /// async fn echo(upgrade: WebSocketUpgrade, scope: RequestScope) -> Response {
    ///     let stopping = scope.stopping();
    ///     scope.web_socket(upgrade, async move |socket| {
    ///         let mut stopping = std::pin::pin!(stopping);
    ///         loop {
    ///             tokio::select! {
    ///                 message = socket.recv() => match message {
    ///                     Some(Ok(message)) => drop(socket.send(message).await),
    ///                     _ => return,
    ///                 },
    ///                 () = stopping.as_mut() => return,
    ///             }
    ///         }
    ///     })
    /// }
    /// # let _ = echo;
    /// ```
    ///
    /// # Guarantees
    /// However the body ended, the client is sent a close frame, and has one second to answer it: 1000 after a body that
    /// completed, 1001 when the server stops, 1011 after a panic. The socket is a part of the server: it counts among its
    /// connections, and leaving the server awaits it. At the end of the server's grace the body is dropped.
    ///
    /// A body that reads learns that its client is gone from the socket. One that does not is dropped: over HTTP/1.1 after
    /// the server's [`peer_lost_limit`](crate::Serve::peer_lost_limit) from the client's end, over HTTP/2 when the connection
    /// has ended.
    ///
    /// The request's scope is closed before the body runs. What the socket needs is entered in the body, by
    /// [`tenure::with`].
    ///
    /// # Panics
    /// A panic of the body resumes in a task of its own, as with axum.
    #[track_caller]
    pub fn web_socket<F>(&self, upgrade: WebSocketUpgrade, body: F) -> Response
    where
        F: for<'s> BodyFn<&'s mut Socket, (), Fut: Send> + Send + 'static,
    {
        let server = self.server().clone();
        if let Some(link) = &server.0 {
            link.ends_with_its_side.store(true, Relaxed);
        }
        let (give, given) = oneshot::channel();
        let entered = async move {
            let socket = given.await.expect("it is given before this is polled");
            Ok::<_, Stopped>(Socket { socket, server })
        };
        let run = async move |socket: &mut Socket| {
            body(socket).await;
            Ok::<_, Stopped>(())
        };
        // Made here, where the caller's place is known.
        let running = self.upgrade().run(entered, run);
        upgrade.on_upgrade(move |socket| async move {
            // The receiver is in the future that is awaited next.
            let _ = give.send(socket);
            // Stopped is how it ends when the grace is over; its exit was told.
            let _ = running.await;
        })
    }
}

impl Socket {
    /// Says why, and waits until the client has agreed.
    async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        // An error says that it is closed already.
        if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = self.socket.recv().await {}
        }
    }
}

impl AsyncExit for Socket {
    // Never given: its enter's.
    type Error = Stopped;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<(), Stopped> {
        let stops = self.server.stages().is_some_and(|stages| stages.stopping.is_cancelled());
        let (code, reason) = match outcome {
            Outcome::Failed(_) | Outcome::Panicked(_) => (close_code::ERROR, "the server failed"),
            Outcome::Cancelled => (close_code::AWAY, "the server is going away"),
            Outcome::Completed if stops => (close_code::AWAY, "the server is going away"),
            Outcome::Completed => (close_code::NORMAL, ""),
        };
        // A client that does not answer is not waited for any longer.
        let _ = timeout(CLOSE_TIMEOUT, self.close(code, reason)).await;
        Ok(())
    }
}

impl Deref for Socket {
    type Target = WebSocket;

    fn deref(&self) -> &WebSocket {
        &self.socket
    }
}

impl DerefMut for Socket {
    fn deref_mut(&mut self) -> &mut WebSocket {
        &mut self.socket
    }
}
