//! What is said of requests, servers and connections, against real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(all(
    feature = "axum",
    feature = "serve",
    feature = "pool",
    feature = "tls",
    feature = "ws",
    feature = "connect-info"
))]

mod answering;
mod app;
mod client;
mod disconnect;
mod everywhere;
mod frames;
mod gone;
mod grpc;
mod half_open;
mod handler;
mod layer;
mod limits;
mod listeners;
mod noticed;
mod outcomes;
mod pool;
mod process;
mod real_clients;
mod recipes;
mod reports;
mod resend;
mod script;
mod server;
mod sockets;
mod stages;
mod stalled;
mod stopping;
mod support;
mod tls;
mod tls_peer;
mod told;
#[cfg(target_os = "linux")]
mod vanished;
