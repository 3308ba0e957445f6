//! SIGINT, SIGTERM and SIGHUP, as something to ask for.
//!
//! Nothing is done in a handler: whoever waits for a child asks now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::Error;

const NONE: usize = 0;

/// The signals heard so far.
#[derive(Debug)]
pub(crate) struct Interrupt {
    last: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Hears signals from now on, in place of dying of them.
    pub(crate) fn listen() -> Result<Self, Error> {
        let last = Arc::new(AtomicUsize::new(NONE));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&last), number)
                .map_err(Error::io("listen for signals"))?;
        }
        Ok(Self { last })
    }

    /// The signal heard since the last call, if there was one. A second Ctrl-C is heard again.
    pub(crate) fn take(&self) -> Option<i32> {
        // Relaxed: the number is all that is passed on, no other memory is published with it.
        match self.last.swap(NONE, Ordering::Relaxed) {
            NONE => None,
            number => i32::try_from(number).ok(),
        }
    }
}
