//! Lines on standard error.
//!
//! Standard error may be closed or full: to fail to write is no reason to panic, and to wait for it must not keep a
//! process from its end. So these are written without regard to errors, and at the end by a thread of their own.

use std::fmt;
use std::io::{self, Write as _};

use crate::OpenTenure;

/// How many of those that are given up are named, one a line.
const NAMED_MAX: usize = 1_024;

/// Writes one line, which says where it comes from.
pub(super) fn tell(line: fmt::Arguments<'_>) {
    // One write: lines of several threads are not mixed. An error cannot be told anybody.
    let _ = io::stderr().write_all(format!("tenure: {line}\n").as_bytes());
}

/// Writes a line for each tenure that is given up.
pub(super) fn tell_given_up(held: &[OpenTenure]) {
    for tenure in held.iter().take(NAMED_MAX) {
        tell(format_args!("given up: {tenure}"));
    }
    if let Some(more @ 1..) = held.len().checked_sub(NAMED_MAX) {
        tell(format_args!("given up: {more} more"));
    }
}
