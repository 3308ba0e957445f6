//! HTTP on [`tenure`]: an exit stack for each request, servers and client connections as contexts.
//!
//! A web server drops a handler whose client has gone away, in the middle of whatever it was about. What is written
//! after that place is never reached. With a scope for each request, what the handler has entered exits nevertheless,
//! in order, told how the request ended.
//!
//! | to | feature | use |
//! |---|---|---|
//! | give each request an exit stack, on any server of tower | `layer` (default) | `RequestScopeLayer` |
//! | reach it in handlers of axum | `axum` | `RequestScope` as an extractor |
//! | serve as a context: stop, finish, cancel, await | `serve` | `serve` |
//! | serve with TLS, with certificates that can be changed | `tls` | `Tls` |
//! | serve on listeners that a service manager has opened | `socket-activation` | `Listener` |
//! | give the handlers of axum the address of their client | `connect-info` | `Serve::connect_info` |
//! | serve web sockets of axum that are closed in order | `ws` | `RequestScope::web_socket` |
//! | hold a client connection as a context | `client` | `connect` |
//! | keep connections of several servers for many requests | `pool` | `pool` |
//!
#![cfg_attr(all(feature = "axum", feature = "serve", feature = "client"), doc = "```")]
#![cfg_attr(not(all(feature = "axum", feature = "serve", feature = "client")), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use tenure::{AsyncExit, Outcome, with};
//! use tenure_http::{RequestScope, RequestScopeLayer, connect, serve};
//!
//! struct Transaction;
//!
//! impl AsyncExit for Transaction {
//!     type Error = std::io::Error;
//!
//!     async fn exit(self, outcome: Outcome<'_>) -> Result<(), std::io::Error> {
//!         // COMMIT if `outcome.is_completed()`, else ROLLBACK: also when the client has gone away.
//!         # assert!(outcome.is_completed());
//!         Ok(())
//!     }
//! }
//!
//! async fn begin() -> Result<Transaction, std::io::Error> {
//!     Ok(Transaction)
//! }
//!
//! async fn handler(scope: RequestScope) -> Result<&'static str, String> {
//!     let _transaction = scope.enter(begin()).await.map_err(|error| error.to_string())?;
//!     Ok("hello")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let router = Router::new().route("/", get(handler)).layer(RequestScopeLayer::new());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let answer = with(serve(listener, router), async |server| {
//!     let url = format!("http://{}", server.local_addr());
//!     let answer = with(connect(url), async |client| client.get("/").await?.into_body().text(1024).await).await?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer)
//! })
//! .await?;
//! assert_eq!(answer, "hello");
//! # Ok(()) }
//! ```
//!
//! What exits after the answer cannot change it any more: an exit that fails then is told to the report sink. Where it
//! has to decide the answer, exit early: `Scoped::exit`, or [`tenure::with`] inside the handler.
//!
//! # Or reqwest?
//! The client is there for what has to end in order: what a scope connects to is closed when it is left, and the request
//! knows on which connection it goes. It sends requests and nothing else. For redirects, cookies, proxies, decompression,
//! JSON, retries, or HTTP/2 connections that many tasks share unasked, use [reqwest]; its pool closes its connections when
//! it likes, and nobody can await that.
//!
//! [reqwest]: https://docs.rs/reqwest
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

/// How to come here from `axum::serve`, and recipes.
#[cfg(all(feature = "axum", feature = "serve", any(doc, doctest)))]
#[doc = include_str!("../docs/from_axum_serve.md")]
pub mod from_axum_serve {}

#[cfg(all(feature = "layer", feature = "serve", any(doc, doctest)))]
#[doc = include_str!("../docs/noticed.md")]
pub mod noticed {}

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "layer")]
mod layer;
#[cfg(feature = "client")]
mod metered;
#[cfg(feature = "layer")]
mod scope;
#[cfg(feature = "serve")]
mod serve;
#[cfg(any(feature = "serve", feature = "client"))]
mod stall;
#[cfg(any(feature = "layer", feature = "serve"))]
mod stop;
#[cfg(any(feature = "serve", feature = "client"))]
mod tasks;
#[cfg(any(feature = "serve", feature = "client"))]
mod tcp;

#[cfg(feature = "client")]
pub use client::{
    CONNECT_TIMEOUT_DEFAULT, Client, ClientError, Connect, Requests, ResponseBody, SHUTDOWN_LIMIT_DEFAULT,
    SILENCE_LIMIT_DEFAULT, Stage, connect,
};
#[cfg(feature = "pool")]
pub use client::{
    Clients, ClientsStats, POOL_CONNECTIONS_EACH_MAX_DEFAULT, POOL_CONNECTIONS_MAX_DEFAULT,
    POOL_DRAIN_LIMIT_DEFAULT, POOL_GET_TIMEOUT_DEFAULT, POOL_IDLE_TIMEOUT_DEFAULT, POOL_LIFETIME_DEFAULT, Pool,
    Pooled, pool,
};
#[cfg(feature = "layer")]
pub use layer::{
    HandlerFuture, HandlerLayer, HandlerService, OnDisconnect, Outcomes, RequestScopeBody, RequestScopeLayer,
    RequestScopeService, ResponseFuture,
};
#[cfg(feature = "axum")]
pub use scope::NoRequestScope;
#[cfg(feature = "ws")]
pub use scope::Socket;
#[cfg(all(feature = "layer", feature = "serve"))]
pub use scope::Upgrade;
#[cfg(feature = "layer")]
pub use scope::{EnterError, ExitFailed, RequestFailed, RequestScope, Scoped};
#[cfg(feature = "serve")]
pub use serve::{
    BODY_READ_TIMEOUT_DEFAULT, GRACE_LIMIT_DEFAULT, HEADER_BYTES_MAX_DEFAULT, HEADER_READ_TIMEOUT_DEFAULT,
    HttpService, Listener, MAX_CONNECTIONS_DEFAULT, RequestBody, RequestBodyError, Serve, ServeError, Server,
    ServerStats, WRITE_TIMEOUT_DEFAULT, serve,
};
#[cfg(feature = "tls")]
pub use serve::{Tls, TlsError};
#[cfg(any(feature = "serve", feature = "client"))]
pub use tcp::PEER_LOST_LIMIT_DEFAULT;

/// The example of the README, as a test.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
