//! Law 35d: signals while the main thread blocks, computes, or is back from its run; and second ones.

use std::io;
use std::process::ExitCode;

use tenure::{Run, run, with};
use tenure_test::Fault;
use tokio::io::AsyncReadExt as _;
use tokio::task::{spawn_blocking, yield_now};

use super::{
    Going, Running, SHORT, UNCLEAN, Way, Wrong, block, ends_by_itself, ends_by_signals, going, ready, resource,
    say,
};

/// Says when it is dropped, and does not come back.
struct BlocksWhenDropped;

impl Drop for BlocksWhenDropped {
    fn drop(&mut self) {
        say("dropped");
        block()
    }
}

pub(super) fn play(name: &str, way: Way) -> Option<ExitCode> {
    let run = Run::new();
    let short = Run::new().exit_timeout(SHORT);
    Some(match name {
        "blocks" => way.run(run, blocks::<()>()),
        "blocks until the deadline" => way.run(short, blocks::<()>()),
        "computes" => way.run(run, computes()),
        "computes until the deadline" => way.run(short, computes()),
        "blocks in its start" => {
            way.run(run, with(blocks::<Result<Going, Fault>>(), async |_| Ok::<(), Fault>(())))
        }
        "blocks in its drop" => way.run(run, async {
            let _held = BlocksWhenDropped;
            ready::<()>().await;
        }),
        "blocks in its exit" => {
            way.run(run, with(going(Wrong::Blocks), async |_| ready::<Result<(), Fault>>().await))
        }
        "holds and blocks" => way.run(
            run,
            with(resource("held"), async |_| {
                yield_now().await;
                blocks::<Result<(), Fault>>().await
            }),
        ),
        "hangs" => way.run(run, with(going(Wrong::Hangs), async |_| ready::<Result<(), Fault>>().await)),
        "reads lines" => way.run(run, async {
            say("ready");
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(drop)
        }),
        "reads" => way.run(
            run,
            with(resource("held"), async |_| {
                say("ready");
                let mut byte = [0];
                tokio::io::stdin().read_exact(&mut byte).await.map(drop).map_err(|_| Fault::new("unread"))
            }),
        ),
        "panics beside a task that blocks" => way.run(run, async {
            spawn_blocking(|| -> () { block() });
            panic!("meant");
        }),
        "locks standard error" => way.run(run, async {
            say("ready");
            let _locked = io::stderr().lock();
            block()
        }),
        "leaves a task that blocks" => way.run(short, async {
            spawn_blocking(|| -> () { block() });
            ready::<()>().await;
        }),
        "ends beside a task that blocks" => way.run(run, async {
            spawn_blocking(|| -> () { block() });
        }),
        "ends and blocks" => {
            let _code = way.run(run, async {});
            say("back");
            block()
        }
        "two runs" => two_runs(),
        _ => return None,
    })
}

async fn blocks<T>() -> T {
    say("ready");
    block()
}

async fn computes() {
    say("ready");
    loop {
        std::hint::spin_loop();
    }
}

/// One hangs in its exit; another begins then, and a third when both are asked.
fn two_runs() -> ExitCode {
    let hanging = std::thread::spawn(|| {
        Way::on(1).run(Run::new(), with(going(Wrong::Hangs), async |_| ready::<Result<(), Fault>>().await))
    });
    let served = Way::on(2).runtime().block_on(run(ready::<()>()));
    assert_eq!(served, ExitCode::from(143));
    let late = Way::on(2).runtime().block_on(run(async { say("polled") }));
    assert_eq!(late, ExitCode::from(143));
    say("late");
    hanging.join().unwrap()
}

#[test]
fn law_35d_a_second_signal_ends_the_process_at_once_and_says_what_is_given_up() {
    for second in ["INT", "TERM"] {
        for ended in ends_by_signals("hangs", &Way::ALL, &[("ready", "INT"), ("exiting", second)]) {
            let told = format!("SIG{second}, the second signal");
            ended.check_told(UNCLEAN, &[&told, "given up: ", "unheard.rs:", "exiting"]);
            assert!(!ended.said("returned"), "{ended:?}");
        }
    }
}

#[test]
fn law_35d_two_signals_with_nothing_between_them_are_two() {
    for way in Way::ALL {
        let mut child = Running::start("hangs", way);
        child.until("ready");
        child.signal_both("TERM", "INT");
        child.end(way).check_told(UNCLEAN, &["the second signal, ends the process at once"]);
    }
}

#[test]
fn law_35d_a_main_thread_that_blocks_or_computes_is_ended_by_a_second_signal() {
    let scenarios = ["blocks", "computes", "blocks in its start", "reads lines", "locks standard error"];
    for scenario in scenarios {
        for ended in ends_by_signals(scenario, &Way::ALL, &[("ready", "INT"), ("ready", "TERM")]) {
            // Standard error, if it is locked, hears nothing; the process ends all the same.
            let told: &[&str] = if scenario == "locks standard error" {
                &[]
            } else {
                &["the second signal, ends the process", "given up: the main body"]
            };
            ended.check_told(UNCLEAN, told);
        }
    }
    for scenario in ["blocks in its drop", "blocks in its exit"] {
        let line = if scenario == "blocks in its drop" { "dropped" } else { "exiting" };
        for ended in
            ends_by_signals(scenario, &[Way::on(1), Way::inside(1)], &[("ready", "INT"), (line, "INT")])
        {
            ended.check_told(UNCLEAN, &["SIGINT, the second signal"]);
        }
    }
}

#[test]
fn law_35d_what_a_blocked_body_holds_is_named() {
    for ended in ends_by_signals("holds and blocks", &Way::ALL, &[("ready", "TERM"), ("ready", "TERM")]) {
        ended.check_told(UNCLEAN, &["given up: the main body", "given up: ", "unheard.rs:"]);
        assert!(!ended.said("exited held"), "{ended:?}");
    }
}

#[test]
fn law_35a_a_main_thread_that_blocks_or_computes_is_ended_at_the_deadline() {
    for scenario in ["blocks until the deadline", "computes until the deadline"] {
        for ended in ends_by_signals(scenario, &Way::ALL, &[("ready", "TERM")]) {
            ended.check_told(UNCLEAN, &["after SIGTERM the process has not ended", "given up: the main body"]);
        }
    }
}

#[test]
fn law_35d_a_signal_after_the_run_ends_the_process_at_once() {
    for ended in ends_by_signals("ends and blocks", &Way::ALL, &[("back", "TERM")]) {
        ended.check_told(Some(143), &["SIGTERM ends the process at once"]);
    }
    // The runtime is dropped after the run has returned, and waits for the task.
    let ways = [Way::inside(1), Way::inside(2)];
    for ended in ends_by_signals("ends beside a task that blocks", &ways, &[("returned", "INT")]) {
        ended.check_told(Some(130), &["SIGINT ends the process at once"]);
    }
    for ended in ends_by_signals("leaves a task that blocks", &ways, &[("ready", "INT"), ("returned", "TERM")])
    {
        ended.check_told(Some(143), &["SIGTERM, the second signal"]);
    }
    for ended in ends_by_signals("leaves a task that blocks", &ways, &[("ready", "INT")]) {
        ended.check_told(UNCLEAN, &["after SIGINT the process has not ended"]);
    }
}

#[test]
fn law_35_a_task_that_blocks_does_not_keep_a_process_with_a_runtime_of_its_own() {
    let ways = [Way::on(1), Way::on(2)];
    for ended in ends_by_itself("ends beside a task that blocks", &ways) {
        ended.check(Some(0), &[]);
    }
    for ended in ends_by_signals("leaves a task that blocks", &ways, &[("ready", "TERM")]) {
        ended.check(Some(143), &["ready"]);
    }
    for ended in ends_by_signals("reads", &ways, &[("ready", "TERM")]) {
        ended.check(Some(143), &["ready", "exited held"]);
    }
    for ended in ends_by_itself("panics beside a task that blocks", &ways) {
        ended.check_told(Some(101), &["meant"]);
    }
}

#[test]
fn law_35_several_runs_are_asked_together_and_one_that_begins_then_is_not_polled() {
    let way = Way::on(1);
    let mut child = Running::start("two runs", way);
    child.until("ready");
    child.until_again("ready");
    child.signal("TERM");
    child.until("late");
    child.signal("TERM");
    let ended = child.end(way);
    ended.check_told(UNCLEAN, &["exiting", "SIGTERM, the second signal", "given up: "]);
    assert!(!ended.said("polled"), "{ended:?}");
}
