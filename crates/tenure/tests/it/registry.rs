//! What is open, what is counted, and who is told.

use std::sync::{Arc, Mutex};

use tenure::{Options, Phase, counters, drain, hold, open, set_report_sink, shield, with};
use tenure_test::{Act, Fault, Recorder, both_flavours, panic_quietly};

use crate::support::{Error, LONG, Reports, drop_at, settled, suspend_to};

#[test]
fn open_shows_what_is_held_as_a_tree_with_name_place_and_phase() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let line = line!() + 1;
        let tree = Options::new().name("outer").with(
            async { Ok::<_, Error>(recorder.resource("o").await?) },
            async |_| {
                let held = Options::new()
                    .name("held")
                    .hold(async { Ok::<_, Error>(recorder.resource("h").await?) })
                    .await?;
                let inner = Options::new().name("inner");
                let tree = inner.with(async { Ok::<_, Error>(recorder.resource("i").await?) }, async |_| {
                    Ok::<_, Error>(open())
                });
                let tree = tree.await?;
                held.close().await?;
                Ok::<_, Error>(tree)
            },
        );
        let tree = tree.await.unwrap();
        let seen: Vec<_> = tree.iter().collect();
        let [outer, held, inner] = seen[..] else { panic!("{tree}") };
        assert_eq!((outer.name, held.name, inner.name), ("outer", "held", "inner"));
        assert_eq!((outer.parent, held.parent, inner.parent), (None, Some(outer.id), Some(outer.id)));
        assert!(seen.iter().all(|tenure| tenure.phase == Phase::Held && !tenure.handed_over));
        assert_eq!((outer.location.line(), outer.location.file()), (line, file!()));
        let text = tree.to_string();
        let indents: Vec<_> = text.lines().map(|line| line.len() - line.trim_start().len()).collect();
        assert_eq!(indents, [0, 2, 2], "{text}");
        assert!(text.starts_with("outer, entered at crates/tenure/tests/it/registry.rs:"), "{text}");
        assert!(open().is_empty());
    });
}

#[test]
fn open_shows_each_phase() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let mut entering = Box::pin(with(shield(recorder.resource("a")), async |_| Ok::<_, Fault>(())));
        suspend_to(1, entering.as_mut()).await;
        assert_eq!(open().iter().next().unwrap().phase, Phase::Entering);
        entering.await.unwrap();
        let quick = recorder.resource("b").on_enter(Act::at_once());
        let mut exiting = Box::pin(with(quick, async |_| Ok::<_, Fault>(())));
        suspend_to(1, exiting.as_mut()).await;
        assert_eq!(open().iter().next().unwrap().phase, Phase::Exiting);
        exiting.await.unwrap();
        assert!(open().is_empty());
    });
}

#[test]
fn a_runtime_sees_its_own_alone() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let held = hold(recorder.resource("a")).await.unwrap();
        std::thread::spawn(|| {
            both_flavours(|_| async {
                assert!(open().is_empty());
                assert_eq!(counters(), tenure::Counters::default());
                assert_eq!(drain(LONG).await.ended, 0);
            });
        })
        .join()
        .unwrap();
        assert_eq!(open().len(), 1);
        held.close().await.unwrap();
    });
}

#[test]
fn the_counters_agree_with_what_happened() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let act = |act| recorder.resource("a").on_enter(Act::at_once()).on_exit(act);
        let body = async |_: &mut _| Ok::<_, Fault>(());
        with(act(Act::suspend(1)), body).await.unwrap();
        with(act(Act::suspend(1).then_fail()), body).await.unwrap_err();
        drop_at(1, with(act(Act::suspend(1).then_panic()), body)).await;
        let held = hold(act(Act::at_once())).await.unwrap();
        let _ = held.disarm();
        settled().await;
        let counted = counters();
        assert_eq!((counted.entered, counted.exited, counted.disarmed, counted.lost), (4, 3, 1, 0));
        assert_eq!((counted.failed, counted.panicked, counted.timed_out, counted.handed_over), (1, 1, 0, 1));
    });
}

#[test]
fn law_05_a_sink_that_panics_keeps_no_exit_from_running() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        set_report_sink(|_| panic_quietly("sink"));
        for name in ["a", "b"] {
            drop(hold(recorder.resource(name).on_exit(Act::suspend(1).then_fail())).await.unwrap());
        }
        let report = drain(LONG).await;
        assert_eq!((report.ended, report.incidents.len(), report.open.len()), (2, 2, 0));
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn b067_incidents_beyond_what_a_report_keeps_are_counted_and_reach_the_sink() {
    both_flavours(|_| async {
        const MORE: usize = 10;
        let (recorder, reports) = (Recorder::new(), Reports::here());
        for _ in 0..tenure::KEPT_INCIDENTS_MAX + MORE {
            let fails = recorder.resource("a").on_enter(Act::at_once()).on_exit(Act::at_once().then_fail());
            drop(hold(fails).await.unwrap());
        }
        let report = drain(LONG).await;
        assert_eq!(
            (report.incidents.len(), report.incidents_dropped),
            (tenure::KEPT_INCIDENTS_MAX, MORE as u64)
        );
        assert_eq!(reports.all().len(), tenure::KEPT_INCIDENTS_MAX + MORE);
    });
}

#[test]
fn law_05_an_error_whose_debug_panics_is_reported_all_the_same() {
    struct Unprintable;
    impl std::fmt::Debug for Unprintable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic_quietly("Debug")
        }
    }
    both_flavours(|_| async {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = messages.clone();
        set_report_sink(move |incident| sink.lock().unwrap().push(incident.message.clone()));
        let fails = tenure::Closing::of((), async |()| Err(Unprintable));
        drop(hold(std::future::ready(Ok::<_, Unprintable>(fails))).await.unwrap_or_else(|_| unreachable!()));
        settled().await;
        assert_eq!(*messages.lock().unwrap(), ["an error whose `Debug` panics"]);
    });
}

#[test]
fn what_threads_have_counted_is_not_lost_with_them() {
    const THREADS: u64 = 8;
    const TIMES: u64 = 50;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let recorder = Recorder::new();
    // In two waves, so that later threads go on with what earlier ones have left.
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..THREADS / 2 {
                scope.spawn(|| {
                    runtime.block_on(async {
                        for _ in 0..TIMES {
                            with(recorder.resource("r"), async |_| Ok::<_, Fault>(())).await.unwrap();
                        }
                    });
                });
            }
        });
    }
    let counted = runtime.block_on(async { counters() });
    assert_eq!((counted.entered, counted.exited), (THREADS * TIMES, THREADS * TIMES));
}
