//! The signals that ask a process to end.

use std::fmt;

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Terminate,
}

impl Signal {
    pub(super) const ALL: [Self; 4] = [Self::Hangup, Self::Interrupt, Self::Quit, Self::Terminate];

    /// The signal's number, which is the same on every Unix.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }

    /// The exit code that shells and supervisors expect.
    pub(super) const fn code(self) -> u8 {
        128 + self.number()
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The signals that one run stops at: SIGINT and SIGTERM, others by choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) hangup: bool,
    pub(super) quit: bool,
}

impl Chosen {
    pub(super) fn contains(self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt | Signal::Terminate => true,
            Signal::Hangup => self.hangup,
            Signal::Quit => self.quit,
        }
    }

    pub(super) fn signals(self) -> impl Iterator<Item = Signal> {
        Signal::ALL.into_iter().filter(move |signal| self.contains(*signal))
    }
}
