//! The recording resource, and the assertions on a trace: each passes where it should and fails where it
//! should.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tenure::{AsyncExit, Outcome, hold};
use tenure_test::{Act, Fault, Recorder, Seen, Trace, both_flavours, cancel_everywhere, hang, paused};

/// The message with which an assertion fails, `None` if it passes.
fn complaint(assertion: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).err()?;
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains("trace:\n"), "every complaint prints the trace: {text}");
    Some(*text)
}

/// `a` around `b`, left in the order of `exits`.
fn two(exits: [usize; 2]) -> Trace {
    let recorder = Recorder::new();
    paused().block_on(async {
        let mut held =
            [Some(recorder.resource("a").await.unwrap()), Some(recorder.resource("b").await.unwrap())];
        for at in exits {
            held[at].take().unwrap().exit(Outcome::Completed).await.unwrap();
        }
    });
    recorder.trace()
}

#[test]
fn the_right_order_passes() {
    let trace = two([1, 0]);
    trace.assert_exited_once("a");
    trace.assert_all_exited_once();
    trace.assert_lifo();
    trace.assert_nested("b", "a");
    trace.assert_order(["enter a", "enter b", "exited b", "exit a: completed"]);
    trace.assert_exactly(["enter a", "enter b", "exit b: completed", "exit a: completed"]);
    trace.assert_outcome("a", &Seen::Completed);
    trace.assert_never_entered("c");
}

#[test]
fn the_wrong_order_fails() {
    let trace = two([0, 1]);
    trace.assert_all_exited_once();
    for complaint in [complaint(|| trace.assert_lifo()), complaint(|| trace.assert_nested("b", "a"))] {
        assert!(complaint.unwrap().contains("\"a\" (entered at "));
    }
    assert!(complaint(|| trace.assert_order(["exited b", "exit a: completed"])).is_some());
    assert!(complaint(|| trace.assert_exactly(["enter a"])).is_some());
    assert!(complaint(|| trace.assert_outcome("a", &Seen::Cancelled)).is_some());
    assert!(complaint(|| trace.assert_outcome("c", &Seen::Cancelled)).is_some());
    assert!(complaint(|| trace.assert_exited_once("c")).is_some());
    assert!(complaint(|| trace.assert_never_entered("a")).is_some());
}

#[test]
fn a_leak_and_a_half_exit_fail() {
    let recorder = Recorder::new();
    paused().block_on(async {
        drop(recorder.resource("leaked").await.unwrap());
        let cut = recorder.resource("cut").on_exit(Act::at_once().then_hang()).await.unwrap();
        let limit = std::time::Duration::from_secs(1);
        tokio::time::timeout(limit, cut.exit(Outcome::Cancelled)).await.unwrap_err();
    });
    let trace = recorder.trace();
    assert!(complaint(|| trace.assert_exited_once("leaked")).unwrap().contains("never exited"));
    assert!(complaint(|| trace.assert_exited_once("cut")).unwrap().contains("was dropped before it ended"));
    assert!(complaint(|| trace.assert_all_exited_once()).is_some());
    trace.assert_order(["drop leaked", "exit cut: cancelled", "exit cut dropped", "drop cut"]);
}

#[test]
fn acts_are_recorded_as_they_end() {
    let recorder = Recorder::new();
    paused().block_on(async {
        let failing = recorder.resource("a").on_enter(Act::suspend(2).then_fail()).await;
        assert_eq!(failing.unwrap_err().message(), "enter a");
        let panicking = recorder.resource("b").on_enter(Act::at_once().then_panic()).into_future();
        tokio::spawn(panicking).await.unwrap_err();
        let exit_fails = recorder.resource("c").on_exit(Act::suspend(1).then_fail()).await.unwrap();
        exit_fails.exit(Outcome::Completed).await.unwrap_err();
        let exit_panics = recorder.resource("d").on_exit(Act::at_once().then_panic()).await.unwrap();
        tokio::spawn(exit_panics.exit(Outcome::Cancelled)).await.unwrap_err();
        let drop_panics = recorder.resource("e").on_drop(Act::at_once().then_panic()).await.unwrap();
        tokio::spawn(async move { drop_panics.exit(Outcome::Cancelled).await }).await.unwrap_err();
    });
    recorder.trace().assert_exactly([
        "enter a failed",
        "enter b panicked",
        "enter c",
        "exit c: completed",
        "exit c failed",
        "enter d",
        "exit d: cancelled",
        "exit d panicked",
        "enter e",
        "exit e: cancelled",
    ]);
    recorder.trace().assert_order(["exited e", "drop e"]);
    recorder.trace().assert_all_exited_once();
}

#[test]
fn law_03_that_very_fault_is_told_from_one_like_it() {
    let recorder = Recorder::new();
    let fault = Fault::new("boom");
    paused().block_on(async {
        let a = recorder.resource("a").await.unwrap();
        a.exit(Outcome::failed(&fault)).await.unwrap();
        let b = recorder.resource("b").await.unwrap();
        b.exit(Outcome::failed(&Fault::new("boom"))).await.unwrap();
    });
    let trace = recorder.trace();
    trace.assert_saw_fault("a", &fault);
    assert!(complaint(|| trace.assert_saw_fault("b", &fault)).is_some());
    trace.assert_outcome("b", &Seen::Failed("boom".to_owned()));
}

/// The file that a panic on this thread reports. The hook is the process's: one test uses it.
fn reported_file(panics: impl FnOnce()) -> String {
    let place = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&place);
    let this_thread = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == this_thread {
            *seen.lock().unwrap() = info.location().map(|location| location.file().to_owned());
        } else {
            before(info);
        }
    }));
    let _ = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    drop(std::panic::take_hook());
    place.lock().unwrap().take().unwrap()
}

#[test]
fn what_fails_names_the_file_of_the_test() {
    let trace = two([0, 1]);
    let hanging = || Recorder::new().resource("a").on_exit(Act::at_once().then_hang());
    let failures: [&dyn Fn(); 6] = [
        &|| trace.assert_exited_once("c"),
        &|| trace.assert_lifo(),
        &|| trace.assert_nested("b", "a"),
        &|| trace.assert_order(["enter c"]),
        &|| _ = cancel_everywhere(|_| hang::<()>()),
        // Dropped, it exits in the background, and hangs there.
        &|| both_flavours(|_| async { drop(hold(hanging()).await) }),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        assert!(reported_file(failure).ends_with("tests/it/trace.rs"), "failure {number}");
    }
}
