//! What the bodies of tests on a pool fail with.

use std::error::Error;
use std::fmt;

use tenure::Stopped;
use tenure_pool::{GetError, PoolError};

use crate::failure::Failure;

/// What a body of a test on a pool fails with.
#[derive(Debug)]
pub(crate) enum Trouble {
    Get(GetError),
    Pool(PoolError),
    Stopped(Stopped),
    Other(Failure),
}

impl Error for Trouble {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Get(error) => Some(error),
            Self::Pool(error) => Some(error),
            Self::Stopped(stopped) => Some(stopped),
            Self::Other(failure) => Some(failure),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a use of the pool went wrong")
    }
}

impl From<GetError> for Trouble {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<Stopped> for Trouble {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}
