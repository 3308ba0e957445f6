//! Law 35a: signals that stop the main body, and bodies that heed them.

use std::process::ExitCode;
use std::time::Instant;

use tenure::{Run, hold, with};
use tenure_test::Fault;

use super::{
    Going, Running, SHORT, UNCLEAN, Way, Wrong, ends_by_itself, ends_by_signals, going, ready, resource, say,
    serve,
};

pub(super) fn play(name: &str, way: Way) -> Option<ExitCode> {
    let run = Run::new();
    Some(match name {
        "serve" => way.run(run, serve()),
        "serve, success" => way.run(run.success_after_signal(true), serve()),
        "serve, hangup and quit" => way.run(run.stop_on_hangup(true).stop_on_quit(true), serve()),
        "entering" => way.run(run, with(ready::<Result<Going, Fault>>(), async |_| Ok::<(), Fault>(()))),
        "hand over" => way.run(run, async {
            drop(hold(resource("handed over")).await?);
            Ok::<_, Fault>(())
        }),
        "fail" => way.run(run, with(resource("outer"), async |_| Err::<(), _>(Fault::new("broken")))),
        "panic" => way.run(run, with(resource("outer"), async |_| -> Result<(), Fault> { panic!("meant") })),
        "cooperative" => way.cooperative(run, async |token| {
            with(resource("outer"), async |_| {
                say("ready");
                token.cancelled().await;
                say("asked to stop");
                Ok::<_, Fault>(())
            })
            .await
        }),
        "cooperative, fails when asked" => way.cooperative(run, async |token| {
            say("ready");
            token.cancelled().await;
            Err::<(), _>(Fault::new("broken"))
        }),
        "cooperative but deaf" => way.cooperative(run.exit_timeout(SHORT), async |_| serve().await),
        "cooperative but deaf, and hangs" => way.cooperative(run.exit_timeout(2 * SHORT), async |_| {
            with(going(Wrong::Hangs), async |_| ready::<Result<(), Fault>>().await).await
        }),
        _ => return None,
    })
}

#[test]
fn law_35a_a_signal_drops_the_body_exits_in_order_and_ends_with_the_conventional_code() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        for ended in ends_by_signals("serve", &Way::ALL, &[("ready", signal)]) {
            ended.check(Some(code), &["ready", "exited inner", "exited outer"]);
        }
    }
}

#[test]
fn law_35a_hangup_and_quit_stop_the_body_by_choice() {
    for (signal, code) in [("HUP", 129), ("QUIT", 131), ("INT", 130)] {
        for ended in ends_by_signals("serve, hangup and quit", &[Way::on(2)], &[("ready", signal)]) {
            ended.check(Some(code), &["ready", "exited inner", "exited outer"]);
        }
    }
    for ended in ends_by_signals("serve", &[Way::on(2)], &[("ready", "HUP")]) {
        ended.check(None, &["ready"]);
    }
}

#[test]
fn law_35c_a_clean_stop_is_a_success_by_choice() {
    for ended in ends_by_signals("serve, success", &Way::ALL, &[("ready", "TERM")]) {
        ended.check(Some(0), &["ready", "exited inner", "exited outer"]);
    }
}

#[test]
fn law_35a_a_signal_during_the_start() {
    for ended in ends_by_signals("entering", &Way::ALL, &[("ready", "TERM")]) {
        ended.check(Some(143), &["ready"]);
    }
}

#[test]
fn law_35_what_was_handed_over_is_drained() {
    for ended in ends_by_itself("hand over", &Way::ALL) {
        ended.check(Some(0), &["exited handed over"]);
    }
}

#[test]
fn law_35_a_body_that_fails_or_panics_exits_first() {
    for ended in ends_by_itself("fail", &Way::ALL) {
        ended.check_told(Some(1), &["exited outer", "broken"]);
        assert_eq!(ended.said[0], "exited outer", "{ended:?}");
    }
    for ended in ends_by_itself("panic", &Way::ALL) {
        ended.check_told(Some(101), &["exited outer", "meant"]);
    }
}

#[test]
fn law_35a_a_cooperative_body_is_asked_and_awaited() {
    for ended in ends_by_signals("cooperative", &Way::ALL, &[("ready", "INT")]) {
        ended.check(Some(130), &["ready", "asked to stop", "exited outer"]);
    }
    for ended in ends_by_signals("cooperative but deaf", &Way::ALL, &[("ready", "INT")]) {
        ended.check(Some(130), &["ready", "exited inner", "exited outer"]);
    }
}

#[test]
fn law_35c_a_body_that_fails_when_it_is_asked_has_not_stopped_cleanly() {
    for ended in ends_by_signals("cooperative, fails when asked", &Way::ALL, &[("ready", "TERM")]) {
        ended.check_told(Some(1), &["broken"]);
    }
}

#[test]
fn law_35a_limits_do_not_add_up() {
    for way in Way::ALL {
        let mut child = Running::start("cooperative but deaf, and hangs", way);
        child.until("ready");
        child.signal("TERM");
        let asked = Instant::now();
        let ended = child.end(way);
        let took = asked.elapsed();
        ended.check_told(UNCLEAN, &["exiting", "given up: ", "asked.rs:", "exit code 70"]);
        // The body's part and the exits' would be 1.6 times the deadline, the limits one after the other twice.
        assert!(took < 3 * SHORT, "{took:?}");
    }
}
