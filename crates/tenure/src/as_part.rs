//! The exit of something that belongs to the exit around it: an entry of a stack, one of several joined resources.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::frame::Node;
use crate::label::{Id, Label};

pin_project! {
    /// Polls, and drops, an exit in a frame of its own. The exit drops what it has of others when it has ended.
    pub(crate) struct AsPart<F> {
        node: Node,
        // There until this is dropped. When it has ended there is nothing in it whose drop is a user's code.
        #[pin]
        exit: Option<F>,
        is_over: bool,
    }

    impl<F> PinnedDrop for AsPart<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if !*this.is_over {
                let _frame = this.node.enter_to_drop();
                this.exit.set(None);
            }
        }
    }
}

impl<F: Future> AsPart<F> {
    /// The id is that under which it is known already, or 0.
    #[inline]
    pub(crate) fn new(id: Id, label: Label, exit: F) -> Self {
        Self { node: Node { id, ..Node::new(label) }, exit: Some(exit), is_over: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ready with the output, and with whom to name should it be a fault.
    #[inline]
    pub(crate) fn poll_exit(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        suspended: impl FnOnce(Id),
    ) -> Poll<(F::Output, Label)> {
        let this = self.project();
        let frame = this.node.enter_as_part(context);
        let exit = this.exit.as_pin_mut().expect("it is there until this is dropped");
        let polled = exit.poll(context);
        drop(frame);
        *this.is_over = polled.is_ready();
        if polled.is_pending() {
            suspended(this.node.id());
        }
        polled.map(|output| (output, this.node.label))
    }
}
