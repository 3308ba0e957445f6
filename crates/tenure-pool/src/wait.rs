//! How a wait can be failed from outside.

use std::task::Waker;

use crate::error::GetErrorKind;

pub(crate) const FAILED_TIMEOUT: u8 = 0;
pub(crate) const FAILED_CLOSED: u8 = 1;
pub(crate) const FAILED_CREATE: u8 = 2;
pub(crate) const FAILED_SHED: u8 = 3;
/// The runtime it waited on is gone: it is to ask again.
pub(crate) const FAILED_RUNTIME: u8 = 4;

pub(crate) fn kind_of(failure: u8) -> GetErrorKind {
    match failure {
        FAILED_TIMEOUT => GetErrorKind::Exhausted,
        FAILED_CLOSED => GetErrorKind::Closed,
        FAILED_CREATE => GetErrorKind::CreateFailing,
        FAILED_SHED => GetErrorKind::Shed,
        _ => GetErrorKind::NoRuntime,
    }
}

/// Wakes each; the lock must not be held.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
