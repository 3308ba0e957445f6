//! Panics by intent: how they are raised, and how they are kept from filling the screen.

use std::panic::{self, panic_any};

/// What a panic by intent carries.
#[derive(Debug)]
pub(crate) struct Injected;

/// Panics by intent.
pub(crate) fn inject() {
    panic_any(Injected);
}

/// Keeps panics by intent quiet. All others are shown as ever.
pub(crate) fn keep_injected_ones_quiet() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<Injected>() {
            show(panic);
        }
    }));
}
