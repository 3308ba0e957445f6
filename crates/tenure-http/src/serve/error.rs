//! What serving fails with.

use std::error::Error;
use std::{fmt, io};

/// A server could not begin, or did not end as it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener does not say where it listens.
    Listener(io::Error),
    /// The task that accepts connections panicked, with this message.
    Accept(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(_) => f.write_str("the listener has no address"),
            Self::Accept(message) => write!(f, "the task that accepts connections panicked: {message}"),
        }
    }
}

impl Error for ServeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listener(error) => Some(error),
            Self::Accept(_) => None,
        }
    }
}
