//! Law 17: runtimes that die undrained, and no runtime at all.

use std::sync::{Arc, Mutex};

use tenure::{
    AsyncExit, Closing, ExitStack, Held, Incident, IncidentKind, Options, counters, hold,
    set_default_report_sink, shield, with,
};
use tenure_test::{Act, Fault, Recorded, Recorder, both_flavours, hang, suspend};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Error, Reports, entered, spin};

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

fn named(
    recorder: &Recorder,
    name: &'static str,
) -> impl Future<Output = Result<Held<Recorded>, Error>> + use<> {
    let resource = recorder.resource(name);
    Options::new().name(name).hold(async move { Ok(resource.await?) })
}

#[track_caller]
fn assert_lost(reports: &Reports, names: &[&str]) {
    let found = reports.all();
    assert!(found.iter().all(|incident| incident.kind == IncidentKind::ExitLost), "{found:?}");
    assert!(found.iter().all(|incident| incident.location.file().ends_with("loss.rs")), "{found:?}");
    let mut found: Vec<_> = found.iter().map(|incident| incident.name).collect();
    found.sort_unstable();
    assert_eq!(found, names);
}

/// The counters of a runtime that is gone.
fn counted(handle: &tokio::runtime::Handle) -> tenure::Counters {
    let _inside = handle.enter();
    counters()
}

#[test]
fn law_17_b246_what_tasks_held_when_the_runtime_died_is_counted_and_named() {
    for runtime in runtimes() {
        let (recorder, handle) = (Recorder::new(), runtime.handle().clone());
        let reports = runtime.block_on(async {
            let reports = Reports::here();
            let (held, entered) = tokio::sync::oneshot::channel();
            let inside = recorder.clone();
            tokio::spawn(async move {
                let _held = named(&inside, "held").await.unwrap();
                let body = async |_: &mut _| {
                    held.send(()).unwrap();
                    hang::<Result<(), Error>>().await
                };
                let resource = inside.resource("in a body");
                Options::new().name("in a body").with(async { Ok::<_, Error>(resource.await?) }, body).await
            });
            entered.await.unwrap();
            reports
        });
        drop(runtime);
        assert_lost(&reports, &["held", "in a body"]);
        let counted = counted(&handle);
        assert_eq!((counted.entered, counted.exited, counted.lost, counted.handed_over), (2, 0, 2, 2));
        // The resource's own drop is all that is left.
        assert!(recorder.trace().contains("drop held") && recorder.trace().contains("drop in a body"));
        assert_eq!(recorder.trace().exited("held"), 0);
    }
}

#[test]
fn law_17_an_exit_that_was_under_way_when_the_runtime_died() {
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let reports = runtime.block_on(async {
            let reports = Reports::here();
            let slow = recorder.resource("slow").on_exit(Act::suspend(1).then_hang());
            drop(Options::new().name("slow").hold(async { Ok::<_, Error>(slow.await?) }).await.unwrap());
            while recorder.trace().exited("slow") == 0 {
                tokio::task::yield_now().await;
            }
            reports
        });
        drop(runtime);
        assert_lost(&reports, &["slow"]);
        recorder.trace().assert_order(["exit slow: cancelled", "exit slow dropped", "drop slow"]);
    }
}

#[test]
fn law_17_a_guard_that_outlives_its_runtime() {
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let handle = runtime.handle().clone();
        let (reports, held) =
            runtime.block_on(async { (Reports::here(), named(&recorder, "held").await.unwrap()) });
        drop(runtime);
        // Dropped on a thread that never saw a runtime.
        std::thread::spawn(move || drop(held)).join().unwrap();
        assert_lost(&reports, &["held"]);
        assert_eq!(counted(&handle).lost, 1);
    }
}

#[test]
fn law_17_a_guard_dropped_inside_another_runtime() {
    for (first, second) in runtimes().into_iter().zip(runtimes()) {
        let recorder = Recorder::new();
        let (reports, held) =
            first.block_on(async { (Reports::here(), named(&recorder, "held").await.unwrap()) });
        drop(first);
        second.block_on(async {
            drop(held);
            assert_eq!(counters(), tenure::Counters::default(), "it is the first one's loss");
        });
        assert_lost(&reports, &["held"]);
    }
}

#[test]
fn law_17_shielded_enters_and_stacks_are_named_too() {
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let reports = runtime.block_on(async {
            let reports = Reports::here();
            let (begun, entering) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let stack = ExitStack::<Fault>::new();
                stack.enter(recorder.resource("a")).await?;
                stack.enter(recorder.resource("b")).await?;
                let enter = shield(recorder.resource("c").on_enter(Act::suspend(1).then_hang()));
                let mut enter = Box::pin(with(enter, async |_| Ok::<_, Fault>(())));
                crate::support::suspend_to(2, enter.as_mut()).await;
                begun.send(()).unwrap();
                enter.await
            });
            entering.await.unwrap();
            reports
        });
        drop(runtime);
        let mut kinds: Vec<_> = reports.all().iter().map(|incident| format!("{:?}", incident.kind)).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["EnterLost", "ExitLost", "ExitLost"]);
    }
}

#[test]
fn law_17_nothing_panics_where_the_drop_itself_panics() {
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let (reports, held) = runtime.block_on(async {
            let broken = recorder.resource("broken").on_drop(Act::at_once().then_panic());
            let held =
                Options::new().name("broken").hold(async { Ok::<_, Error>(broken.await?) }).await.unwrap();
            (Reports::here(), held)
        });
        drop(runtime);
        drop(held);
        assert_lost(&reports, &["broken"]);
    }
}

#[test]
fn law_17_a_drop_that_panics_keeps_no_other_on_its_stack_from_being_dropped_and_named() {
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let (reports, stack) = runtime.block_on(async {
            let stack = ExitStack::<Fault>::new();
            stack.enter(recorder.resource("below")).await.unwrap();
            for name in ["broken", "broken too"] {
                stack.enter(recorder.resource(name).on_drop(Act::at_once().then_panic())).await.unwrap();
            }
            (Reports::here(), stack)
        });
        drop(runtime);
        drop(stack);
        recorder.trace().assert_order(["drop broken too", "drop broken", "drop below"]);
        let kinds: Vec<_> = reports.all().iter().map(|incident| incident.kind).collect();
        assert_eq!(kinds, [IncidentKind::ExitLost; 3]);
    }
}

#[test]
fn law_17_a_tenure_that_never_had_a_runtime() {
    static SEEN: Mutex<Vec<Incident>> = Mutex::new(Vec::new());
    set_default_report_sink(|incident| SEEN.lock().unwrap().push(incident.clone()));
    let recorder = Recorder::new();
    // Inline nothing needs one.
    spin(with(recorder.resource("a"), async |_| Ok::<_, Fault>(()))).unwrap();
    recorder.trace().assert_all_exited_once();
    // Handed over, it is lost; on a thread of its own, whose counters no other test shares.
    std::thread::spawn(|| {
        let recorder = Recorder::new();
        let held = spin(
            Options::new().name("no runtime").hold(async { Ok::<_, Error>(recorder.resource("a").await?) }),
        );
        drop(held.unwrap());
    })
    .join()
    .unwrap();
    let seen = SEEN.lock().unwrap();
    let lost: Vec<_> = seen.iter().filter(|incident| incident.name == "no runtime").collect();
    assert!(matches!(lost[..], [incident] if incident.kind == IncidentKind::ExitLost), "{lost:?}");
}

#[test]
fn law_17_at_the_end_of_a_thread_and_in_std_main() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Held<Recorded>>> = const { std::cell::RefCell::new(None) };
    }
    for runtime in runtimes() {
        let recorder = Recorder::new();
        let (reports, held) =
            runtime.block_on(async { (Reports::here(), named(&recorder, "kept").await.unwrap()) });
        // Dropped by the destructor of a thread-local, while the runtime lives: it exits there.
        std::thread::spawn(move || KEPT.set(Some(held))).join().unwrap();
        let report = runtime.block_on(tenure::drain(crate::support::LONG));
        assert_eq!((report.ended, reports.all().len()), (1, 0));
        recorder.trace().assert_all_exited_once();
    }
}

#[test]
fn law_17_the_next_drain_of_a_living_runtime_says_what_was_lost() {
    // A blocking pool's thread, a local set: whatever drops it, an exit that is spawned on a living runtime runs.
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("a")).await.unwrap();
        tokio::task::spawn_blocking(move || drop(held)).await.unwrap();
        assert!(crate::support::drained().await.is_clean());
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_17_children_and_siblings_of_the_lost_are_not_waited_for_in_vain() {
    for runtime in runtimes() {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let reports = runtime.block_on(async {
            let reports = Reports::here();
            let (held, entered_all) = tokio::sync::oneshot::channel();
            let noting = ends.clone();
            tokio::spawn(async move {
                let outer = Closing::of((), async move |()| {
                    suspend(1).await;
                    noting.lock().unwrap().push("outer");
                    Ok::<_, Fault>(())
                });
                with(entered(outer), async |_| {
                    let _inner = hold(entered(Hangs)).await?;
                    held.send(()).unwrap();
                    hang::<Result<(), Fault>>().await
                })
                .await
            });
            entered_all.await.unwrap();
            reports
        });
        runtime.shutdown_background();
        // Shut down, not drained: each is lost, whichever order the tasks are dropped in.
        let begun = std::time::Instant::now();
        while reports.all().len() < 2 {
            assert!(begun.elapsed().as_secs() < 20, "{:?}", reports.all());
            std::thread::yield_now();
        }
        assert!(ends.lock().unwrap().is_empty());
    }
}

struct Hangs;

impl AsyncExit for Hangs {
    type Error = Fault;

    async fn exit(self, _: tenure::Outcome<'_>) -> Result<(), Fault> {
        hang().await
    }
}
