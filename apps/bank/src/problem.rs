//! Why the bank could not do its work: one sentence for whoever started it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use axum::http::StatusCode;
use tenure::ExitErrors;
use tenure_http::{ClientError, ServeError};
use tenure_pool::{GetError, PoolError};

/// Why a database is not used that holds something else.
pub(crate) const FOREIGN: &str = "it holds the data of another application";

/// Why the bank could not do its work.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The database cannot be used, for this reason.
    Unusable { database: String, reason: String },
    /// The temporary folder cannot be made or removed.
    Folder(io::Error),
    /// The asynchronous runtime cannot be started.
    Runtime(io::Error),
    /// A connection or a transaction failed.
    Tenure(tenure_sqlx::Error),
    /// The pool lent no connection.
    NoConnection(GetError),
    /// The pool could not be opened or closed in order.
    Pool(PoolError),
    /// A connection came back with a transaction open on it.
    LeftOpen,
    /// A statement failed.
    Statement(sqlx::Error),
    /// The port cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The process may not have as many files open as there are to be connections.
    TooFewFiles { needed: u64, allowed: u64 },
    /// The service could not be started or stopped in order.
    Serve(ServeError),
    /// A client's connection failed.
    Http(ClientError),
    /// A client's order cannot be written down.
    Order(serde_json::Error),
    /// A client got no answer.
    NoAnswer,
    /// A client got an answer that makes no sense.
    Answer(StatusCode),
    /// Several clients panicked.
    Clients(String),
}

impl Problem {
    pub(crate) fn unusable(database: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self::Unusable { database: database.to_string(), reason: reason.into() }
    }

    /// Names the database in a problem that came up when it was opened or prepared.
    pub(crate) fn at(self, database: impl fmt::Display) -> Self {
        match self {
            Self::Tenure(_) | Self::Statement(_) => Self::unusable(database, self.to_string()),
            other => other,
        }
    }

    /// Why the pool lent no connection, if it is that.
    pub(crate) fn not_lent(&self) -> Option<&GetError> {
        match self {
            Self::NoConnection(error) => Some(error),
            // A transaction on the pool.
            Self::Tenure(error) => error.get_error(),
            _ => None,
        }
    }

    /// Prints the sentence.
    pub(crate) fn tell(&self) {
        eprintln!("bank: {self}");
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cause) = self.not_lent().and_then(GetError::cause) {
            // Why none could be opened; the pool's own text around it is of no help to whoever started the bank.
            return write!(f, "{cause}");
        }
        match self {
            Self::Unusable { database, reason } => write!(f, "cannot use {database}: {reason}"),
            Self::Folder(error) => write!(f, "cannot use a temporary folder: {error}"),
            Self::Runtime(error) => write!(f, "cannot start the runtime: {error}"),
            Self::Tenure(error) => chain(error, f),
            Self::NoConnection(error) => chain(error, f),
            Self::Pool(error) => chain(error, f),
            Self::LeftOpen => f.write_str("a transaction was left open"),
            Self::Statement(error) => chain(error, f),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::TooFewFiles { needed, allowed } => write!(
                f,
                "so many clients need {needed} open files and {allowed} are allowed; raise `ulimit -n`, or take \
                 fewer --clients"
            ),
            Self::Serve(error) => chain(error, f),
            Self::Http(error) => chain(error, f),
            Self::Order(error) => chain(error, f),
            Self::NoAnswer => f.write_str("a client got no answer"),
            Self::Answer(status) => write!(f, "a client got the answer {status}"),
            Self::Clients(panics) => write!(f, "the clients: {panics}"),
        }
    }
}

/// SQLite's code for a disk that is full.
const SQLITE_FULL: &str = "13";

/// Writes an error with its causes, or just says that the disk is full.
fn chain(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // What the database said is the innermost cause; sqlx's own text around it repeats it.
        if let Some(sqlx::Error::Database(said)) = error.downcast_ref() {
            if said.code().as_deref() == Some(SQLITE_FULL) {
                return f.write_str("the disk is full");
            }
            causes.push(said.message().to_owned());
            break;
        }
        causes.push(error.to_string());
        next = error.source();
    }
    f.write_str(&causes.join(": "))
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tenure(error) => Some(error),
            Self::Statement(error) => Some(error),
            _ => None,
        }
    }
}

impl From<tenure_sqlx::Error> for Problem {
    fn from(error: tenure_sqlx::Error) -> Self {
        Self::Tenure(error)
    }
}

impl From<GetError> for Problem {
    fn from(error: GetError) -> Self {
        Self::NoConnection(error)
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Get(error) | PoolError::Open(error) => Self::NoConnection(error),
            other => Self::Pool(other),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        Self::Serve(error)
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        Self::Http(error)
    }
}

/// The first failure of a client stands for those that it caused.
impl From<ExitErrors<Self>> for Problem {
    fn from(errors: ExitErrors<Self>) -> Self {
        let text = errors.to_string();
        errors.into_first().unwrap_or(Self::Clients(text))
    }
}
