//! Accepting connections until the server stops.

use std::error::Error;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tower_service::Service;

use super::RequestBody;
use super::connection::serve_connection;
use super::control::Control;
use super::listener::{Accepted, Listener};

/// Returns the connections that are left. Dropped, they are handed over.
pub(super) async fn accept_all<S, B>(listener: Listener, service: S, control: Arc<Control>) -> JoinSet<()>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let spawn = |connections: &mut JoinSet<()>, accepted: Accepted, slot: OwnedSemaphorePermit| {
        control.stats.count_accepted();
        let connection = serve_connection(accepted, service.clone(), Arc::clone(&control));
        connections.spawn(async move {
            // Dropped last, also by a panic.
            let _slot = slot;
            connection.await;
        });
    };
    loop {
        let next = async {
            let slot = Arc::clone(&control.slots).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, slot)
        };
        tokio::select! {
            biased;
            () = control.stages.stopping.cancelled() => break,
            (accepted, slot) = next => spawn(&mut connections, accepted, slot),
            Some(_) = connections.join_next() => {}
        }
    }
    // Whoever got a connection from the system before may have sent a request on it.
    while let Ok(slot) = Arc::clone(&control.slots).try_acquire_owned() {
        let Some(accepted) = listener.accept_waiting() else { break };
        spawn(&mut connections, accepted, slot);
    }
    connections
}
