//! Accepting connections until the server is left.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tower_service::Service;

use super::RequestBody;
use super::connection::serve_connection;
use super::server::Control;

/// The pause after an accept that failed for want of something, such as file descriptors, that others may give back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(super) async fn accept_all<S, B>(listener: TcpListener, service: S, control: Arc<Control>)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    loop {
        let next = async {
            let slot = Arc::clone(&control.slots).acquire_owned().await;
            (accept(&listener).await, slot)
        };
        let (stream, slot) = tokio::select! {
            biased;
            () = control.stop.cancelled() => return,
            next = next => next,
        };
        control.stats.count_accepted();
        let connection = serve_connection(stream, service.clone(), Arc::clone(&control));
        tokio::spawn(async move {
            // Dropped last, also by a panic.
            let _slot = slot;
            connection.await;
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_client(&error) => {}
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

/// Whether one client is to blame, so that the next one need not wait.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
