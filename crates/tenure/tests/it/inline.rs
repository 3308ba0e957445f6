//! Law 19: inline, task-locals and the span are the caller's; a handed-over exit re-enters the span of its enter.

use std::sync::{Arc, Mutex};

use tenure::{AsyncExit, Outcome, hold, shield, with};
use tenure_test::{Fault, both_flavours, hang, suspend};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument as _, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

use crate::support::{drop_at, entered, settled};

tokio::task_local! {
    static REQUEST: u32;
}

/// Says what its exit finds around itself.
struct Looks(tokio::sync::mpsc::UnboundedSender<(Option<u32>, Option<String>)>);

impl AsyncExit for Looks {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        for _ in 0..2 {
            let request = REQUEST.try_with(|request| *request).ok();
            self.0.send((request, current_span())).unwrap();
            suspend(1).await;
        }
        Ok(())
    }
}

/// The least of a subscriber: it knows the names of spans, and which is entered on this thread.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static Metadata<'static>>>>);

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<(u64, String)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Once for the process: a handed-over exit is polled where no scoped subscriber is.
fn subscribe() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Spans::default()).unwrap());
}

fn current_span() -> Option<String> {
    ENTERED.with_borrow(|entered| entered.last().map(|(_, name)| name.clone()))
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock().unwrap();
        spans.push(span.metadata());
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        let name = self.0.lock().unwrap()[usize::try_from(id.into_u64()).unwrap() - 1].name();
        ENTERED.with_borrow_mut(|entered| entered.push((id.into_u64(), name.to_owned())));
    }

    fn exit(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.retain(|(other, _)| *other != id.into_u64()));
    }

    fn current_span(&self) -> Current {
        ENTERED.with_borrow(|entered| match entered.last() {
            Some((id, _)) => {
                let metadata = self.0.lock().unwrap()[usize::try_from(*id).unwrap() - 1];
                Current::new(Id::from_u64(*id), metadata)
            }
            None => Current::none(),
        })
    }
}

#[test]
fn law_19_inline_the_task_locals_and_the_span_are_the_callers() {
    subscribe();
    both_flavours(|_| async {
        let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let body = async |_: &mut _| Ok::<_, Fault>(assert_eq!(REQUEST.get(), 7));
        let call = REQUEST.scope(7, with(entered(Looks(send)), body));
        call.instrument(info_span!("request")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(seen.recv().await, Some((Some(7), Some("request".to_owned()))));
        }
    });
}

#[test]
fn law_19_a_handed_over_exit_is_in_the_span_it_was_entered_in() {
    subscribe();
    both_flavours(|_| async {
        let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let held = hold(entered(Looks(send.clone())));
        let held = held.instrument(info_span!("enter")).await.unwrap();
        let call = with(entered(Looks(send)), async |_| hang::<Result<(), Fault>>().await);
        let call = REQUEST.scope(7, call).instrument(info_span!("request"));
        drop_at(1, call).await;
        settled().await;
        for _ in 0..2 {
            // Task-locals stay with their task.
            assert_eq!(seen.recv().await, Some((None, Some("request".to_owned()))));
        }
        async { drop(held) }.instrument(info_span!("drop")).await;
        settled().await;
        for _ in 0..2 {
            assert_eq!(seen.recv().await, Some((None, Some("enter".to_owned()))));
        }
        assert_eq!(current_span(), None);
    });
}

#[test]
fn law_19_a_shielded_enter_goes_on_in_its_span() {
    subscribe();
    both_flavours(|_| async {
        let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let enter = shield(async move {
            suspend(2).await;
            Ok::<_, Fault>(Looks(send))
        });
        let call = with(enter, async |_| Ok::<_, Fault>(())).instrument(info_span!("enter"));
        drop_at(1, call).await;
        settled().await;
        assert_eq!(seen.recv().await, Some((None, Some("enter".to_owned()))));
    });
}
