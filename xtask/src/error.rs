//! Why a run ended without success.

use std::fmt;
use std::io;
use std::process::ExitStatus;

/// Why a run ended without success: one sentence for a person, one code for a script.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line was not understood.
    Usage(String),
    /// The machine lacks something; the sentence says how to get it.
    Missing(String),
    /// A step failed; its output has been shown.
    Step { name: &'static str, why: String },
    /// A database server could not be brought up.
    Server { name: &'static str, why: String },
    /// A command that was run on the servers failed; what it printed has been shown.
    Command { program: String, status: ExitStatus },
    /// A signal ended the run.
    Interrupted { signal: i32 },
    /// Words or imports are not as they are to be; each place has been named.
    Untidy { faults: usize },
    /// The operating system refused something.
    Io { doing: String, source: io::Error },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        |source| Self::Io { doing, source }
    }

    /// 2 for a wrong command line, 128 + the signal by convention, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted { signal } => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::Missing(_)
            | Self::Step { .. }
            | Self::Server { .. }
            | Self::Untidy { .. }
            | Self::Command { .. }
            | Self::Io { .. } => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what}; see `cargo xtask help`"),
            Self::Missing(sentence) => f.write_str(sentence),
            Self::Step { name, why } => write!(f, "step `{name}` {why}"),
            Self::Server { name, why } => write!(f, "{name}: {why}"),
            Self::Command { program, status } => write!(f, "{program} ended with {status}"),
            Self::Untidy { faults } => write!(f, "{faults} places are untidy, listed above"),
            Self::Interrupted { signal } => write!(f, "stopped by signal {signal}"),
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
