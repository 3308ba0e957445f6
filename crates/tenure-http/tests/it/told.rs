//! What clients of HTTP/2 are told when their server is left, frame by frame.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tenure::{Held, hold};
use tenure_http::{RequestScope, RequestScopeLayer, Serve, Server, serve};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::app::listen;
use crate::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS};
use crate::support::{HANG, check};

/// A server whose `/` answers at once, and whose `/waits` answers when the server stops.
async fn serving(
    setup: impl FnOnce(Serve<Router>) -> Serve<Router>,
) -> (Held<Server>, mpsc::UnboundedReceiver<()>) {
    let (waits, waiting) = mpsc::unbounded_channel();
    let handler = async move |scope: RequestScope| {
        waits.send(()).unwrap();
        scope.stopping().await;
    };
    let router = Router::new().route("/", get(async || ())).route("/waits", get(handler));
    let server = serve(listen().await, router.layer(RequestScopeLayer::new())).grace_limit(HANG);
    (hold(setup(server)).await.unwrap(), waiting)
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addr()).await.unwrap()
}

fn request(id: u32, path: &str) -> Vec<u8> {
    frames::frame(HEADERS, END_HEADERS | END_STREAM, id, &frames::head("GET", path))
}

/// The last stream that a `GOAWAY` promises to answer.
fn last_stream(frame: &frames::Frame) -> u32 {
    u32::from_be_bytes(frame.payload[..4].try_into().unwrap()) & 0x7fff_ffff
}

async fn goes_away(stream: &mut TcpStream) -> Option<u32> {
    frames::until(stream, GOAWAY).await.as_ref().map(last_stream)
}

#[test]
fn over_http2_going_away_is_said_twice() {
    check(async || {
        let (server, mut waiting) = serving(|server| server).await;
        let mut stream = connect(&server).await;
        stream.write_all(&[frames::hello(), request(1, "/waits")].concat()).await.unwrap();
        waiting.recv().await.unwrap();
        let leaving = tokio::spawn(server.close());
        let (mut answered, mut words) = (Vec::new(), Vec::new());
        while let Some(frame) = frames::read(&mut stream).await {
            let reply = match frame.kind {
                HEADERS => {
                    answered.push(frame.stream);
                    continue;
                }
                GOAWAY => {
                    words.push(last_stream(&frame));
                    if words.len() > 1 {
                        continue;
                    }
                    // Nothing is refused yet, so that what is on its way is answered.
                    request(3, "/")
                }
                // By this the client says that it has heard.
                frames::PING if frame.flags & frames::ACK == 0 => {
                    frames::frame(frames::PING, frames::ACK, 0, &frame.payload)
                }
                _ => continue,
            };
            stream.write_all(&reply).await.unwrap();
        }
        answered.sort_unstable();
        assert_eq!(answered, [1, 3], "what was sent before the second word");
        assert_eq!(words, [0x7fff_ffff, 3]);
        leaving.await.unwrap().unwrap();
    });
}

#[test]
fn over_http2_a_lame_duck_answers_new_connections_and_tells_them_after_their_first_request() {
    const LAME: Duration = Duration::from_secs(2);
    check(async || {
        let (server, _waiting) = serving(|server| server.lame_duck(LAME)).await;
        let mut kept = connect(&server).await;
        kept.write_all(&[frames::hello(), request(1, "/")].concat()).await.unwrap();
        frames::until(&mut kept, HEADERS).await.unwrap();
        let (mut silent, mut new) = (connect(&server).await, connect(&server).await);
        let began = std::time::Instant::now();
        let leaving = tokio::spawn(server.close());
        // It is told at once.
        assert_eq!(goes_away(&mut kept).await, Some(0x7fff_ffff));
        silent.write_all(&frames::hello()).await.unwrap();
        new.write_all(&frames::hello()).await.unwrap();
        frames::until(&mut new, frames::SETTINGS).await.unwrap();
        new.write_all(&request(1, "/")).await.unwrap();
        assert_eq!(frames::until(&mut new, HEADERS).await.unwrap().stream, 1);
        assert!(goes_away(&mut new).await.is_some());
        assert!(began.elapsed() < LAME, "too slow to tell");
        drop((kept, new));
        // One that has never sent a request is told when the server stops.
        assert!(goes_away(&mut silent).await.is_some());
        assert!(began.elapsed() >= LAME);
        while frames::until(&mut silent, GOAWAY).await.is_some() {}
        leaving.await.unwrap().unwrap();
        assert!(began.elapsed() < HANG / 2, "a silent connection held up the stop");
    });
}
