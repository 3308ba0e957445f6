//! What is said of requests, servers and connections, against real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(all(feature = "axum", feature = "serve", feature = "client"))]

mod app;
mod client;
mod disconnect;
mod everywhere;
mod handler;
mod layer;
mod limits;
mod script;
mod server;
mod support;
mod tls;
