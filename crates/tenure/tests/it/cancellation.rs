//! Laws 9 to 12: the caller is dropped before the enter, in it, in the body, in the exit.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll};

use tenure::{
    AsyncExit, ExitStack, IncidentKind, NeverLent, Options, Outcome, context, hold, join, shield, task_group,
    with, with_stack,
};
use tenure_test::{Act, CancelBy, Fault, Proof, Recorder, Seen, both_flavours, hang, panic_quietly, suspend};
use tokio::runtime::Handle;

use crate::support::{Error, NoteOnDrop, Reports, drained, drop_at, entered, settled, suspend_to};

#[test]
fn law_09_before_the_first_poll_nothing_is_entered() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let resource = || recorder.resource("a");
        let body = async |_: &mut _| Ok::<_, Fault>(());
        drop(with(resource(), body));
        drop(with(shield(resource()), body));
        drop(with_stack(async |stack| stack.enter(resource()).await.map(drop)));
        drop(hold(resource()));
        drop(shield(resource()));
        drop(join((resource(), resource())));
        drop(join(vec![resource()]));
        drop(Options::new().with(resource(), body));
        drop(context::<(), NeverLent, _, _>(async |_| panic!("it is polled")));
        drop(ExitStack::<Fault>::new().enter(resource()));
        drop(with(task_group::<Error>(), async |group| {
            group.spawn(async { Ok(()) });
            Ok::<_, tenure::ExitErrors<Error>>(())
        }));
        assert!(recorder.trace().events().is_empty(), "{}", recorder.trace());
        assert_eq!(tenure::counters(), tenure::Counters::default());
        assert_eq!(drained().await.ended, 0);
    });
}

#[test]
fn law_10_an_enter_is_dropped_where_it_stands() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = recorder.resource("a").on_enter(Act::suspend(3));
        drop_at(2, with(slow, async |_| Ok::<_, Fault>(recorder.note("body")))).await;
        recorder.trace().assert_exactly(["enter a dropped"]);
        assert_eq!(drained().await.ended, 0);
    });
}

#[test]
fn law_10_b107_a_shielded_enter_ends_and_its_exit_is_told_cancelled() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let slow = shield(recorder.resource("a").on_enter(Act::suspend(3)));
        drop_at(2, with(slow, async |_| Ok::<_, Fault>(recorder.note("body")))).await;
        let report = drained().await;
        recorder.trace().assert_exactly(["enter a", "exit a: cancelled"]);
        recorder.trace().assert_all_exited_once();
        // The enter and the exit.
        assert!(report.is_clean() && report.ended == 2, "{report}");
    });
}

#[test]
fn law_10_b115_the_shielded_enter_goes_on_and_is_not_begun_again() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let began = recorder.clone();
        let enter = shield(async move {
            began.note("begins");
            suspend(3).await;
            began.resource("a").on_enter(Act::at_once()).await
        });
        drop_at(2, with(enter, async |_| Ok::<_, Fault>(()))).await;
        settled().await;
        recorder.trace().assert_exactly(["begins", "enter a", "exit a: cancelled"]);
    });
}

#[test]
fn law_10_what_goes_wrong_with_a_shielded_enter_later_is_reported() {
    both_flavours(|_| async {
        let (recorder, reports) = (Recorder::new(), Reports::here());
        let failing = shield(recorder.resource("a").on_enter(Act::suspend(2).then_fail()));
        drop_at(1, with(failing, async |_| Ok::<_, Fault>(()))).await;
        let panicking = shield(recorder.resource("b").on_enter(Act::suspend(2).then_panic()));
        drop_at(1, with(panicking, async |_| Ok::<_, Fault>(()))).await;
        let report = drained().await;
        assert_eq!((report.incidents.len(), report.ended), (2, 2));
        let mut kinds: Vec<_> =
            reports.all().iter().map(|incident| (incident.kind, incident.message.clone())).collect();
        kinds.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(kinds[0], (IncidentKind::EnterFailed, "enter a".to_owned()));
        assert_eq!(kinds[1], (IncidentKind::EnterPanicked, "injected panic: enter b".to_owned()));
    });
}

#[test]
fn law_10_b114_the_first_is_exited_and_the_second_never_entered() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let future = with(recorder.resource("first"), async |_| {
            recorder.step("between").await?;
            with(recorder.resource("second"), async |_| Ok::<_, Fault>(())).await
        });
        drop_at(2, future).await;
        settled().await;
        recorder.trace().assert_never_entered("second");
        recorder.trace().assert_exited_once("first");
    });
}

#[test]
fn law_11_the_body_is_dropped_first_then_the_exit_runs_to_its_end() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let future = with(recorder.resource("a").on_exit(Act::suspend(4)), async |_| {
            let _local = NoteOnDrop(recorder.clone(), "body dropped");
            recorder.step("never").await
        });
        drop_at(2, future).await;
        recorder.note("caller dropped");
        let report = drained().await;
        recorder.trace().assert_order(["body dropped", "caller dropped", "exited a"]);
        recorder.trace().assert_outcome("a", &Seen::Cancelled);
        assert!(report.is_clean() && report.ended == 1, "{report}");
    });
}

#[test]
fn law_11_the_borrows_of_the_body_end_with_it() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut count = 0;
        let future = with(recorder.resource("a"), async |_| {
            count += 1;
            recorder.step("never").await
        });
        drop_at(2, future).await;
        // While the exit may still be running.
        count += 1;
        assert_eq!(count, 2);
        settled().await;
    });
}

/// Says on which runtime it exits.
struct Where(tokio::sync::oneshot::Sender<tokio::runtime::Id>);

impl AsyncExit for Where {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        self.0.send(Handle::current().id()).unwrap();
        Ok(())
    }
}

#[test]
fn law_11_the_exit_runs_on_the_runtime_of_its_enter() {
    both_flavours(|_| async {
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut future = Box::pin(with(entered(Where(send)), async |_| hang::<Result<(), Fault>>().await));
        suspend_to(1, future.as_mut()).await;
        // Dropped on another runtime, and that on another thread.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
                other.block_on(async {
                    drop(future);
                    assert_eq!(
                        tenure::counters(),
                        tenure::Counters::default(),
                        "it belongs to its own runtime"
                    );
                });
            });
        });
        assert_eq!(drained().await.ended, 1);
        assert_eq!(receive.await.unwrap(), Handle::current().id());
    });
}

#[test]
fn law_11_b102_dropped_where_there_is_no_runtime() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("a")).await.unwrap();
        std::thread::spawn(move || drop(held)).join().unwrap();
        settled().await;
        recorder.trace().assert_exactly(["enter a", "exit a: cancelled"]);
        recorder.trace().assert_all_exited_once();
    });
}

/// An exit that counts how often it is begun and how often it is polled.
struct Counting {
    begun: Arc<AtomicU32>,
    polls: Arc<AtomicU32>,
    /// The poll at which it ends.
    end: u32,
    panics: bool,
}

impl Counting {
    fn new(end: u32, panics: bool) -> Self {
        Self { begun: Arc::default(), polls: Arc::default(), end, panics }
    }
}

/// The exit's future; written by hand, so that nothing but itself notes a poll after the end.
struct CountingExit(Counting);

impl Future for CountingExit {
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let polls = self.0.polls.fetch_add(1, SeqCst) + 1;
        if polls < self.0.end {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.0.panics {
            panic_quietly("exit");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncExit for Counting {
    type Error = Fault;

    fn exit(self, _: Outcome<'_>) -> impl Future<Output = Result<(), Fault>> + Send {
        self.begun.fetch_add(1, SeqCst);
        CountingExit(self)
    }
}

#[test]
fn law_12_b111_the_half_polled_exit_goes_on_and_is_never_restarted() {
    both_flavours(|_| async {
        const POLLS: u32 = 6;
        for suspension in 1..POLLS {
            let exit = Counting::new(POLLS, false);
            let (begun, polls) = (exit.begun.clone(), exit.polls.clone());
            let enter = entered(exit);
            drop_at(suspension, with(enter, async |_| Ok::<_, Fault>(()))).await;
            assert!(drained().await.is_clean());
            assert_eq!((begun.load(SeqCst), polls.load(SeqCst)), (1, POLLS), "dropped at {suspension}");
        }
    });
}

#[test]
fn law_12_an_exit_that_panicked_is_never_polled_again() {
    both_flavours(|_| async {
        const POLLS: u32 = 4;
        for suspension in 0..POLLS {
            let exit = Counting::new(POLLS, true);
            let (begun, polls) = (exit.begun.clone(), exit.polls.clone());
            let enter = entered(exit);
            let future = with(enter, async |_| Ok::<_, Fault>(()));
            if suspension == 0 {
                crate::support::caught(future).await.unwrap_err();
            } else {
                drop_at(suspension, future).await;
                assert_eq!(drained().await.of_kind(IncidentKind::ExitPanicked).count(), 1);
            }
            assert_eq!((begun.load(SeqCst), polls.load(SeqCst)), (1, POLLS), "dropped at {suspension}");
        }
    });
}

#[test]
fn law_12_the_half_closed_stack_goes_on_where_it_was() {
    let proof = Proof::new().check(|run| async move {
        run.trace().assert_all_exited_once();
        Ok(())
    });
    let report = proof.cancel_everywhere(|recorder| async move {
        let stack = ExitStack::<Fault>::new();
        for name in ["a", "b", "c"] {
            stack.enter(recorder.resource(name).on_exit(Act::suspend(2))).await?;
        }
        stack.close().await.map_err(|_| Fault::new("no exit fails"))
    });
    assert_eq!(report.suspensions, 3 + 3 * 2);
}

#[test]
fn law_12_dropped_after_the_end_nothing_runs_again() {
    both_flavours(|_| async {
        // B112.
        let recorder = Recorder::new();
        {
            let mut future = pin!(with(recorder.resource("a"), async |_| Ok::<_, Fault>(())));
            future.as_mut().await.unwrap();
        }
        assert_eq!(drained().await.ended, 0);
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn b132_a_task_is_aborted_in_enter_body_and_exit() {
    let report = Proof::new().cancel_by([CancelBy::Abort]).cancel_everywhere(|recorder| async move {
        with(shield(recorder.resource("a")), async |_| recorder.step("body").await).await
    });
    assert_eq!(report.suspensions, 3);
}
