//! Where connections come from: several listeners, unix sockets, TLS with certificates that change, and who is there.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::rejection::ExtensionRejection;
use axum::routing::get;
use tenure::{with, with_local};
use tenure_http::{Listener, RequestScope, RequestScopeLayer, ServeError, Tls, TlsError, connect, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use crate::app::{App, listen, until_open};
use crate::support::{RawClient, check, log};
use crate::tls_peer::Signed;

async fn who(scope: RequestScope, info: Result<ConnectInfo<SocketAddr>, ExtensionRejection>) -> String {
    format!("{:?} {:?}", scope.peer_addr(), info.ok().map(|ConnectInfo(peer)| peer))
}

#[test]
fn several_listeners_share_a_server_and_handlers_know_who_is_there() {
    check(async || {
        let folder = std::env::temp_dir().join(format!("tenure-http-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{:?}", std::thread::current().id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        let router = Router::new().route("/", get(who)).layer(RequestScopeLayer::new());
        let server = serve(listen().await, router).listener(listen().await).listener(unix).connect_info();
        let served = with_local(server, async |server| {
            let stats = server.stats();
            assert_eq!(server.local_addrs().len(), 2);
            assert_eq!(server.local_addr(), server.local_addrs()[0]);
            for &address in server.local_addrs() {
                let mut client = RawClient::connect(address).await;
                let own = client.stream.local_addr().unwrap();
                client.send("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
                let answer = client.read_to_end().await;
                assert!(answer.ends_with(&format!("Some({own}) Some({own})")), "{answer}");
            }
            let mut client = UnixStream::connect(&path).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("None None"), "{answer}");
            assert_eq!((stats.accepted(), stats.requests()), (3, 3));
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
        // Nobody listens any more.
        assert!(UnixStream::connect(&path).await.is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn over_a_unix_socket_a_client_that_is_gone_is_noticed() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let path = std::env::temp_dir().join(format!("tenure-http-gone-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let unix = UnixListener::bind(&path).unwrap();
        let served = with_local(serve(unix, app.router()), async |server| {
            for behind in ["", "G"] {
                let mut client = UnixStream::connect(&path).await.unwrap();
                let request = format!("GET /for-ever HTTP/1.1\r\nhost: test\r\n\r\n{behind}");
                client.write_all(request.as_bytes()).await.unwrap();
                events.entered_and("waiting").await;
                drop(client);
                events.exited("cancelled").await;
            }
            until_open(server, 0).await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_certificate_can_be_changed_while_the_server_runs() {
    check(async || {
        let (log, _events) = log();
        let app = App::new(&log);
        let (first, second) = (Signed::new(), Signed::new());
        let tls = first.tls();
        let listener = Listener::from(listen().await).tls(&tls);
        let served = with_local(serve(listener, app.router()), async |server| {
            let url = format!("https://localhost:{}", server.local_addr().port());
            let hello = async |signed: &Signed, http2: bool| {
                let connection = connect(&url).trust(signed.der.clone());
                let connection = if http2 { connection.http2_only() } else { connection };
                with(connection, async |client| client.get("/hello").await?.into_body().text(99).await).await
            };
            // An open connection keeps the certificate that it has.
            let stream = TcpStream::connect(server.local_addr()).await.unwrap();
            let mut open = first.connect(stream).await;
            assert_eq!(hello(&first, false).await.unwrap(), "hello");
            assert!(hello(&second, false).await.is_err());
            tls.reload_pem(second.chain.as_bytes(), second.key.as_bytes()).unwrap();
            assert!(hello(&first, false).await.is_err());
            assert_eq!(hello(&second, false).await.unwrap(), "hello");
            open.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            open.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("hello"), "{answer}");
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}

#[test]
fn what_is_no_certificate_is_refused_and_changes_nothing() {
    let (signed, other) = (Signed::new(), Signed::new());
    let of = |chain: &str, key: &str| Tls::from_pem(chain.as_bytes(), key.as_bytes());
    assert!(matches!(of("nothing", &signed.key), Err(TlsError::Certificate(_))));
    assert!(matches!(of(&signed.chain, "nothing"), Err(TlsError::Key(_))));
    assert!(matches!(of(&signed.chain, &other.key), Err(TlsError::Certificate(_))));
    let tls = signed.tls();
    assert!(tls.reload_pem(other.chain.as_bytes(), signed.key.as_bytes()).is_err());
}

#[test]
fn a_client_that_does_not_end_its_handshake_is_closed() {
    check(async || {
        let (log, _events) = log();
        let app = App::new(&log);
        let listener = Listener::from(listen().await).tls(&Signed::new().tls());
        let server = serve(listener, app.router()).header_read_timeout(std::time::Duration::from_millis(50));
        let served = with_local(server, async |server| {
            for sent in ["", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n"] {
                let mut client = RawClient::of(server).await;
                client.send(sent).await;
                client.read_to_end().await;
            }
            until_open(server, 0).await;
            assert_eq!((server.stats().broken(), server.stats().requests()), (3, 0));
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}
