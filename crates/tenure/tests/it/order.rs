//! Law 13: nesting keeps its order even when dropped.

use tenure::{
    Closing, Ended, ExitStack, Held, Lender, Phase, context, hold, join, open, shield, with, with_local,
    with_stack,
};
use tenure_test::{
    Act, Fault, Flavour, Proof, Recorded, Recorder, Seen, both_flavours, cancel_everywhere, fail_everywhere,
    hang,
};

use crate::support::{Error, drained, drop_at, settled};

/// The checks of the proof itself are those of this law; here the names say who encloses whom.
fn nested(inner: &'static str, outer: &'static str) -> Proof {
    Proof::new().check(move |run| async move {
        let trace = run.trace();
        if trace.entered(inner) > 0 {
            trace.assert_nested(inner, outer);
        }
        Ok(())
    })
}

#[test]
fn law_13_with_in_with() {
    let report = nested("inner", "outer").cancel_everywhere(|recorder| async move {
        with(recorder.resource("outer"), async |_| {
            with(recorder.resource("inner").on_exit(Act::suspend(3)), async |_| recorder.step("body").await)
                .await
        })
        .await
    });
    assert_eq!(report.suspensions, 2 + 1 + 3 + 1);
}

#[test]
fn law_13_thirty_deep() {
    fn deep(
        recorder: Recorder,
        depth: u32,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return hang().await;
            }
            let name = format!("{depth}");
            with(recorder.resource(name).on_enter(Act::at_once()), async |_| {
                deep(recorder.clone(), depth - 1).await
            })
            .await
        })
    }
    both_flavours(|_| async {
        let recorder = Recorder::new();
        drop_at(1, deep(recorder.clone(), 30)).await;
        let report = drained().await;
        assert_eq!(report.ended, 30);
        recorder.trace().assert_all_exited_once();
        recorder.trace().assert_order((1..=30).map(|depth| format!("exited {depth}")));
        recorder.trace().assert_lifo();
    });
}

#[test]
fn law_13_a_guard_dropped_inside_a_body_that_goes_on_is_a_child() {
    let proof = nested("inner", "outer");
    let make = |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let inner = hold(recorder.resource("inner").on_exit(Act::suspend(9))).await?;
            drop(inner);
            recorder.step("body goes on").await
        })
        .await
    };
    assert!(proof.cancel_everywhere(make).suspensions >= 4);
    assert!(proof.fail_everywhere(make).faults >= 6);
}

#[test]
fn law_13_the_exit_of_the_outer_waits_in_place_for_the_child() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            drop(hold(recorder.resource("inner").on_exit(Act::suspend(9))).await?);
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        recorder.note("returned");
        recorder.trace().assert_order([
            "exit inner: cancelled",
            "exited inner",
            "exit outer: completed",
            "returned",
        ]);
    });
}

#[test]
fn law_13_a_cancelled_block_inside_a_body_that_goes_on_is_a_child() {
    // What `select!` and `timeout` do to a block.
    let make = |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let inner = recorder.resource("inner").on_exit(Act::suspend(9));
            tokio::select! {
                biased;
                result = with(inner, async |_| hang::<Result<(), Fault>>().await) => result?,
                result = recorder.step("give up") => result?,
            }
            recorder.step("body goes on").await
        })
        .await
    };
    assert!(nested("inner", "outer").cancel_everywhere(make).suspensions >= 4);
    assert!(nested("inner", "outer").fail_everywhere(make).faults >= 6);
}

#[test]
fn law_13_a_shielded_enter_inside_a_body_that_goes_on_is_a_child() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let inner = recorder.resource("inner").on_enter(Act::suspend(5)).on_exit(Act::suspend(5));
        with(recorder.resource("outer"), async |_| {
            drop_at(1, with(shield(inner), async |_| Ok::<_, Fault>(()))).await;
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("inner", "outer");
        recorder.trace().assert_exactly([
            "enter outer",
            "enter inner",
            "exit inner: cancelled",
            "exit outer: completed",
        ]);
    });
}

#[test]
fn law_13_a_child_of_a_child_is_awaited_too() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        with(recorder.resource("outer"), async |_| {
            let middle = with(recorder.resource("middle"), async |_| {
                drop(hold(recorder.resource("inner").on_exit(Act::suspend(9))).await?);
                recorder.step("never").await
            });
            drop_at(4, middle).await;
            Ok::<_, Fault>(())
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("inner", "middle");
        recorder.trace().assert_nested("middle", "outer");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn law_13_what_an_exit_hands_over_is_awaited_by_the_enclosing_one() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let closing = {
            let recorder = recorder.clone();
            Closing::of((), async move |()| {
                drop(hold(recorder.resource("late").on_exit(Act::suspend(9))).await?);
                Ok::<_, Fault>(())
            })
        };
        with(recorder.resource("outer"), async |_| {
            // Inline it runs in the body's frame, handed over in its own.
            with(std::future::ready(Ok::<_, Fault>(closing)), async |_| Ok::<_, Fault>(())).await
        })
        .await
        .unwrap();
        recorder.trace().assert_nested("late", "outer");
    });
}

fn all_at_once(recorder: &Recorder, names: [&'static str; 3]) {
    recorder.trace().assert_all_exited_once();
    recorder.trace().assert_lifo();
    recorder.trace().assert_order(names.iter().rev().map(|name| format!("exit {name}: cancelled")));
}

const NAMES: [&str; 3] = ["a", "b", "c"];

async fn three(recorder: &Recorder) -> Result<[Held<Recorded>; 3], Fault> {
    Ok([
        hold(recorder.resource("a")).await?,
        hold(recorder.resource("b")).await?,
        hold(recorder.resource("c")).await?,
    ])
}

#[test]
fn law_13_siblings_on_the_stack_of_a_future() {
    let report = cancel_everywhere(|recorder| async move {
        let a = hold(recorder.resource("a")).await?;
        let b = hold(recorder.resource("b")).await?;
        recorder.step("body").await?;
        drop((a, b));
        recorder.step("dropped forwards").await
    });
    assert_eq!(report.suspensions, 4);
}

/// Drops `all` forwards: inside a body on both flavours, and outside of any on one thread. Outside of any on several
/// threads the first may have begun to exit before the second is dropped: nobody could know.
fn dropped_forwards<T>(all: impl Fn([Held<Recorded>; 3]) -> T) {
    both_flavours(|flavour| {
        let all = &all;
        async move {
            let recorder = Recorder::new();
            let held = three(&recorder).await.unwrap();
            if flavour == Flavour::CurrentThread {
                drop(all(held));
                settled().await;
                all_at_once(&recorder, NAMES);
            } else {
                drop(held);
                settled().await;
            }
            let recorder = Recorder::new();
            let inner = recorder.clone();
            with_local(recorder.resource("outer"), async |_| {
                drop(all(three(&inner).await?));
                Ok::<_, Fault>(())
            })
            .await
            .unwrap();
            all_at_once(&recorder, NAMES);
            recorder.trace().assert_nested("a", "outer");
        }
    });
}

#[test]
fn law_13_siblings_dropped_forwards_as_a_tuple() {
    dropped_forwards(|[a, b, c]| (a, b, c));
}

#[test]
fn law_13_siblings_dropped_forwards_as_a_vec() {
    dropped_forwards(Vec::from);
}

#[test]
fn law_13_siblings_dropped_forwards_as_a_struct() {
    struct Service {
        _database: Held<Recorded>,
        _cache: Held<Recorded>,
        _session: Held<Recorded>,
    }
    dropped_forwards(|[a, b, c]| Service { _database: a, _cache: b, _session: c });
}

#[test]
fn law_13_siblings_dropped_forwards_inside_a_body() {
    let make = |recorder: Recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let all = three(&recorder).await?;
            recorder.step("body").await?;
            drop(all);
            recorder.step("body goes on").await
        })
        .await
    };
    assert!(cancel_everywhere(make).suspensions >= 4);
    assert!(fail_everywhere(make).faults >= 6);
}

#[test]
fn law_13_siblings_dropped_one_by_one_in_reverse_are_in_order_too() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let [a, b, c] = three(&recorder).await.unwrap();
        drop(c);
        drop(b);
        drop(a);
        settled().await;
        all_at_once(&recorder, NAMES);
    });
}

#[test]
fn law_13_an_older_sibling_waits_for_a_younger_one_that_still_exits() {
    both_flavours(|flavour| async move {
        let recorder = Recorder::new();
        let older = hold(recorder.resource("older")).await.unwrap();
        drop(hold(recorder.resource("younger").on_exit(Act::suspend(9))).await.unwrap());
        drop(older);
        // On several threads both may have ended by now.
        if flavour == Flavour::CurrentThread {
            let waiting = open();
            let phases: Vec<_> = waiting.iter().map(|tenure| tenure.phase).collect();
            assert_eq!(phases[0], Phase::Waiting, "{waiting}");
        }
        settled().await;
        recorder.trace().assert_nested("younger", "older");
    });
}

#[test]
fn law_13_each_kind_inside_each_is_in_matrix_here_a_generator_in_a_stack_in_a_guard() {
    let generator = |recorder: Recorder| {
        async move |lender: Lender<()>| {
            let inner = recorder.resource("in the generator").await?;
            let back = lender.lend(()).await;
            let told = if back.ended == Ended::Cancelled { Seen::Cancelled } else { Seen::Completed };
            recorder.note(format!("generator {told}"));
            tenure::AsyncExit::exit(inner, tenure::Outcome::Cancelled).await?;
            Ok::<_, Error>(())
        }
    };
    let report = cancel_everywhere(move |recorder| async move {
        let _held = hold(recorder.resource("held")).await?;
        with_stack(async |stack: &mut ExitStack<Error>| {
            stack.enter(recorder.resource("on the stack")).await?;
            stack.enter(context(generator(recorder.clone()))).await.map_err(|error: Error| error)?;
            Ok::<_, Error>(recorder.step("body").await?)
        })
        .await
    });
    assert!(report.suspensions >= 4, "{report}");
}

#[test]
fn law_13_joined_resources_exit_before_what_encloses_them() {
    let proof = nested("joined", "outer").unordered();
    let report = proof.cancel_everywhere(|recorder| async move {
        with(recorder.resource("outer"), async |_| {
            let slow = recorder.resource("joined").on_exit(Act::suspend(4));
            with(join((slow, recorder.resource("joined"))), async |_| {
                Ok::<_, Error>(recorder.step("body").await?)
            })
            .await
        })
        .await
    });
    assert!(report.suspensions >= 7, "{report}");
}
