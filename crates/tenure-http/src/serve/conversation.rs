//! What is known of a connection by all who have to do with it: its stream, its task, its requests.

use std::sync::Arc;

use super::control::Control;
use super::progress::Progress;
use crate::stop::Link;

/// One connection. Shared as a whole, so that a request has one count to raise.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) progress: Progress,
    pub(super) link: Arc<Link>,
    pub(super) control: Arc<Control>,
}

/// A request from its head to the end of its response.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) conversation: Arc<Conversation>,
}

impl InFlight {
    pub(super) fn begin(conversation: Arc<Conversation>) -> Self {
        conversation.progress.begin_request();
        conversation.control.stats.count_request();
        Self { conversation }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.conversation.progress.end_request();
    }
}
