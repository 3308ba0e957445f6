//! What is said of requests, servers and connections, against real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(all(feature = "axum", feature = "serve", feature = "pool", feature = "tls"))]

mod app;
mod client;
mod disconnect;
mod everywhere;
mod gone;
mod half_open;
mod handler;
mod layer;
mod limits;
mod pool;
mod script;
mod server;
mod stalled;
mod stopping;
mod support;
mod tls;
mod tls_peer;
#[cfg(target_os = "linux")]
mod vanished;
