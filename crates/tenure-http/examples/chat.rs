//! A chat over web sockets: who leaves is announced however it left, and a stop says goodbye by a close frame.
//!
//! ```console
//! cargo run --example chat --features ws
//! ```

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use tenure::{AsyncExit, Outcome, with};
use tenure_http::{RequestScope, RequestScopeLayer, ServeError, Socket, serve};
use tokio::sync::broadcast;

/// What all who chat share.
#[derive(Clone, Debug)]
struct Room {
    said: Arc<broadcast::Sender<String>>,
}

/// Somebody who is in the room.
struct Guest {
    room: Room,
    hears: broadcast::Receiver<String>,
}

async fn join(room: Room) -> Result<Guest, Infallible> {
    let hears = room.said.subscribe();
    // Nobody may be there to hear it.
    let _ = room.said.send("somebody came".to_owned());
    Ok(Guest { room, hears })
}

impl AsyncExit for Guest {
    type Error = Infallible;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Infallible> {
        drop(self.hears);
        let _ = self.room.said.send("somebody left".to_owned());
        Ok(())
    }
}

async fn chat(upgrade: WebSocketUpgrade, scope: RequestScope, State(room): State<Room>) -> Response {
    let stopping = scope.stopping();
    scope.web_socket(upgrade, async move |socket| {
        let stay = with(join(room), async |guest| {
            tokio::select! {
                () = talk(socket, guest) => {}
                () = stopping => {}
            }
            Ok::<_, Infallible>(())
        });
        let Ok(()) = stay.await;
        // Left here, the socket sends a close frame.
    })
}

/// Passes on what is said, until the client is gone.
async fn talk(socket: &mut Socket, guest: &mut Guest) {
    loop {
        tokio::select! {
            said = socket.recv() => match said {
                Some(Ok(Message::Text(text))) => drop(guest.room.said.send(text.to_string())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            heard = guest.hears.recv() => match heard {
                Ok(text) => if socket.send(Message::text(text)).await.is_err() { return },
                // Too slow to hear all of it.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

/// The service.
pub(crate) fn router() -> Router {
    let room = Room { said: Arc::new(broadcast::channel(100).0) };
    Router::new().route("/chat", any(chat)).layer(RequestScopeLayer::new()).with_state(room)
}

/// Serves it until Ctrl-C.
#[tokio::main]
async fn main() -> std::process::ExitCode {
    tenure::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.map_err(ServeError::Listener)?;
        with(serve(listener, router()), async |server| server.forever().await).await
    })
    .await
}
