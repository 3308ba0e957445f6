//! A reverse proxy that streams both ways: the connection to the server behind it is held on the request's scope, so that
//! it goes back to its pool when the response has been passed on, and is closed when the client goes away.
//!
//! ```console
//! cargo run --example proxy --features axum,serve,pool -- http://127.0.0.1:3000
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tenure_http::{
    ClientError, Clients, Pooled, RequestScope, RequestScopeLayer, ResponseBody, Scoped, ServeError, pool,
    serve,
};

/// What is passed on, and where to.
#[derive(Clone)]
struct Behind {
    clients: Clients,
    origin: String,
}

async fn pass_on(State(behind): State<Behind>, scope: RequestScope, mut request: Request) -> Response {
    let failed = |error: &dyn std::fmt::Display| (StatusCode::BAD_GATEWAY, error.to_string()).into_response();
    let mut connection = match scope.enter(behind.clients.get(&behind.origin)).await {
        Ok(connection) => connection,
        Err(error) => return failed(&error),
    };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = path.parse() else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    remove_hop_by_hop(request.headers_mut());
    request.headers_mut().remove(header::HOST);
    match connection.send(request).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            remove_hop_by_hop(&mut head.headers);
            // The connection is in use for as long as its body is.
            Response::from_parts(head, Body::new(PassedOn { body, _connection: connection }))
        }
        Err(error) => failed(&error),
    }
}

/// A body, with the connection that it comes over. Dropped in this order.
struct PassedOn {
    body: ResponseBody,
    _connection: Scoped<Pooled>,
}

impl HttpBody for PassedOn {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Removes what is said of one connection, and not of the message.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 6] = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(',').filter_map(|name| name.trim().parse().ok()).collect::<Vec<_>>())
        .collect();
    for name in named.iter().chain(&NAMES) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// The service, for a server at this URL.
pub(crate) fn router(clients: &Clients, origin: impl Into<String>) -> Router {
    let behind = Behind { clients: clients.clone(), origin: origin.into() };
    Router::new().fallback(pass_on).layer(RequestScopeLayer::new()).with_state(behind)
}

/// Serves it until Ctrl-C.
#[tokio::main]
async fn main() -> std::process::ExitCode {
    let origin = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:3000".to_owned());
    tenure::run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await.map_err(ServeError::Listener)?;
        // The server is left first, then the connections that its handlers use.
        tenure::with(pool(), async |clients| {
            let router = router(clients, origin);
            let served = tenure::with(serve(listener, router), async |server| server.forever().await);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(served.await?)
        })
        .await
    })
    .await
}
