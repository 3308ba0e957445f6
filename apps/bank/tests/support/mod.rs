//! What the test targets share: a bank to be started, and a client to talk to it.

pub(crate) mod bank;
pub(crate) mod http;
