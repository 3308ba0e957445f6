//! [`Plan`]: what the harness does to one run.

use std::fmt;

use crate::countdown::Cut;
use crate::{CancelBy, FaultKind, Flavour};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) flavour: Flavour,
    pub(crate) cut: Option<Cut>,
    pub(crate) faults: Vec<(u64, FaultKind)>,
}

impl Plan {
    /// Nothing is done to the run.
    pub(crate) fn untroubled(flavour: Flavour) -> Self {
        Self { flavour, cut: None, faults: Vec::new() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cut {
            None => f.write_str("not cancelled")?,
            Some(Cut { at: 0, by: CancelBy::Abort }) => f.write_str("aborted before the first poll")?,
            Some(Cut { at: 0, .. }) => f.write_str("dropped before the first poll")?,
            Some(Cut { at, by }) => write!(f, "{by} at suspension {at}")?,
        }
        for (at, kind) in &self.faults {
            write!(f, ", {kind} at fault point {at}")?;
        }
        write!(f, ", on {}", self.flavour)
    }
}
