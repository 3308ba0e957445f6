//! The bank's own clients: they move money over HTTP, and are as bad-mannered as clients are.

pub(crate) mod client;
pub(crate) mod order;
