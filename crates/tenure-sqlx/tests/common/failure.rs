//! What the bodies of the tests fail with, on whatever database.

use std::error::Error;
use std::fmt;

use tenure_test::Fault;

/// What a body of these tests fails with.
#[derive(Debug)]
pub(crate) enum Failure {
    Tenure(tenure_sqlx::Error),
    Statement(sqlx::Error),
    /// By intent.
    Refused,
    /// By intent of a proof.
    Injected(Fault),
}

impl Failure {
    #[track_caller]
    pub(crate) fn into_tenure(self) -> tenure_sqlx::Error {
        match self {
            Self::Tenure(error) => error,
            other => panic!("expected an error of the tenure, got {other:?}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenure(error) => error.fmt(f),
            Self::Statement(error) => error.fmt(f),
            Self::Refused => f.write_str("refused by intent"),
            Self::Injected(fault) => write!(f, "injected: {}", fault.message()),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tenure(error) => error.source(),
            Self::Statement(error) => error.source(),
            Self::Refused | Self::Injected(_) => None,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Injected(fault)
    }
}

impl From<tenure_sqlx::Error> for Failure {
    fn from(error: tenure_sqlx::Error) -> Self {
        Self::Tenure(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}
