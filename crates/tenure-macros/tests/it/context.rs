//! `#[tenure::context]`: what the function under it does when it is entered and exited.

use std::fmt::Display;
use std::future::poll_fn;
use std::num::ParseIntError;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::Poll;

use tenure::{Verdict, with, with_recovering};

use tenure_test::{Recorder, cancel_everywhere, fail_everywhere};

use crate::trace::{Error, OnDrop, Trace, word};

/// A context that writes down all it does.
#[tenure::context]
async fn traced(trace: Trace, name: &'static str, exit: Result<(), Error>) -> Result<String, Error> {
    trace.push(format!("enter {name}"));
    tokio::task::yield_now().await;
    let back = lend!(name.to_owned());
    let outcome = back.look(word).await;
    trace.push(format!("exit {}, {outcome}", back.value));
    tokio::task::yield_now().await;
    exit
}

#[tenure::test]
async fn law_29_the_value_and_the_outcome_come_back() {
    let trace = Trace::new();
    let result = with(traced(trace.clone(), "a", Ok(())), async |value| {
        value.push('!');
        trace.push(format!("body {}", value.as_str()));
        Ok::<_, Error>(5)
    });
    assert_eq!(result.await, Ok(5));
    trace.expect(&["enter a", "body a!", "exit a!, completed"]);

    let result = with(traced(trace.clone(), "b", Ok(())), async |_| Err::<(), _>(Error::Body));
    assert_eq!(result.await, Err(Error::Body));
    trace.expect(&["enter b", "exit b, failed: Body"]);
}

#[tenure::test]
async fn law_29_what_the_function_returns_is_the_result_of_the_exit() {
    let trace = Trace::new();
    let exit = Err(Error::Exit);
    let result = with(traced(trace.clone(), "a", exit), async |_| Ok::<_, Error>(()));
    assert_eq!(result.await, Err(Error::Exit));
}

#[tenure::test]
async fn law_29_a_panic_of_the_body_is_told() {
    let trace = Trace::new();
    let body = tokio::spawn({
        let trace = trace.clone();
        async move { with(traced(trace, "a", Ok(())), async |_| -> Result<(), Error> { panic!("oh") }).await }
    });
    assert!(body.await.unwrap_err().is_panic());
    trace.expect(&["enter a", "exit a, panicked: oh"]);
}

#[tenure::context]
async fn fails_before_the_lend(fail: bool) -> Result<u8, Error> {
    if fail {
        Err(Error::Enter)?;
    }
    lend!(1);
    Ok(())
}

#[tenure::context]
async fn lends_only_if(lends: bool) -> Result<u8, Error> {
    if lends {
        lend!(1);
    }
    Ok(())
}

#[tenure::test]
async fn law_28_an_enter_that_fails_or_never_lends_skips_the_body() {
    let body = async |_: &mut _| -> Result<(), Error> { unreachable!("nothing was entered") };
    assert_eq!(with(fails_before_the_lend(true), body).await, Err(Error::Enter));
    let body = async |_: &mut _| -> Result<(), Error> { unreachable!("nothing was entered") };
    assert_eq!(with(lends_only_if(false), body).await, Err(Error::NeverLent));
    assert_eq!(with(lends_only_if(true), async |_| Ok::<_, Error>(())).await, Ok(()));
}

#[tenure::test]
async fn law_30_dropped_before_the_lend_it_is_dropped_where_it_stands() {
    let trace = Trace::new();
    {
        let mut entering = pin!(with(traced(trace.clone(), "a", Ok(())), async |_| Ok::<_, Error>(())));
        let first = poll_fn(|cx| Poll::Ready(entering.as_mut().poll(cx).is_pending())).await;
        assert!(first, "it waits once before it lends");
    }
    assert!(tenure::drain(std::time::Duration::from_secs(1)).await.is_clean());
    trace.expect(&["enter a"]);
}

#[tenure::test(start_paused = true)]
async fn law_30_dropped_after_the_lend_it_goes_on_to_its_end() {
    let trace = Trace::new();
    let second = std::time::Duration::from_secs(1);
    let body = with(traced(trace.clone(), "a", Ok(())), async |_| -> Result<(), Error> {
        std::future::pending().await
    });
    assert!(tokio::time::timeout(second, body).await.is_err());
    assert!(tenure::drain(second).await.is_clean());
    trace.expect(&["enter a", "exit a, cancelled"]);
}

#[tenure::context]
async fn countdown(n: u32) -> Result<u32, Error> {
    if n == 0 {
        lend!(0);
        return Ok(());
    }
    let below = with(countdown(n - 1), async |below| Ok::<_, Error>(**below)).await?;
    let back = lend!(below + 1);
    assert_eq!(back.value, n);
    Ok(())
}

#[tenure::test]
async fn law_31_each_call_makes_a_fresh_context_and_may_recurse() {
    let five = tokio::spawn(with(countdown(5), async |n| Ok::<_, Error>(**n)));
    assert_eq!(five.await.unwrap(), Ok(5));
    assert_eq!(with(countdown(1), async |n| Ok::<_, Error>(**n)).await, Ok(1));
}

/// Contexts nest by lending in the body of a `with`.
#[tenure::context]
async fn nested(recorder: Recorder) -> Result<String, Error> {
    recorder.step("before").await?;
    with(recorder.resource("outer"), async |_| {
        with(recorder.resource("inner"), async |_| {
            let back = lend!("lent".to_owned());
            recorder.step("after").await?;
            assert_eq!(back.value, "lent");
            Ok::<_, Error>(())
        })
        .await
    })
    .await
}

/// Another one, wrapped around a function.
#[tenure::within(lent = nested(recorder.clone()))]
async fn works(recorder: Recorder) -> Result<(), Error> {
    assert_eq!(lent.as_str(), "lent");
    with(recorder.resource("innermost"), async |_| Ok(recorder.step("body").await?)).await
}

#[test]
fn laws_07_and_13_hold_through_nested_contexts_wherever_they_are_cancelled_or_fail() {
    let report = cancel_everywhere(works);
    assert!(report.runs > 8, "{report:?}");
    let report = fail_everywhere(works);
    assert!(report.runs > 8, "{report:?}");
}

#[tenure::context(recovering)]
async fn forgiving(forgives: bool) -> Result<u8, Error> {
    let back = lend!(7);
    let is_body = back.look(|outcome| outcome.error() == Some(&Error::Body)).await;
    Ok(if is_body && forgives { Verdict::Recover } else { Verdict::Propagate })
}

#[tenure::test]
async fn law_08_a_recovering_context_shows_in_the_type() {
    let body = async |_: &mut _| Err::<(), _>(Error::Body);
    assert_eq!(with_recovering(forgiving(true), body).await, Ok(None));
    let body = async |_: &mut _| Err::<(), _>(Error::Body);
    assert_eq!(with_recovering(forgiving(false), body).await, Err(Error::Body));
    let body = async |_: &mut _| Ok::<_, Error>(3);
    assert_eq!(with_recovering(forgiving(true), body).await, Ok(Some(3)));
}

/// Arguments live to the end of the function, used or not, named or not.
#[tenure::context]
async fn holds(_unnamed: OnDrop, _: OnDrop, (_left, _): (OnDrop, OnDrop), trace: Trace) -> Result<(), Error> {
    trace.push("enter");
    lend!(());
    trace.push("exit");
    Ok(())
}

#[tenure::test]
async fn arguments_are_dropped_when_and_in_the_order_an_async_fn_does() {
    async fn plain(_unnamed: OnDrop, _: OnDrop, (_left, _): (OnDrop, OnDrop), trace: Trace) {
        trace.push("enter");
        tokio::task::yield_now().await;
        trace.push("exit");
    }
    let trace = Trace::new();
    let guards =
        || (trace.on_drop("first"), trace.on_drop("second"), (trace.on_drop("left"), trace.on_drop("right")));
    let order = ["enter", "exit", "left", "right", "second", "first"];

    let (first, second, pair) = guards();
    plain(first, second, pair, trace.clone()).await;
    trace.expect(&order);

    let (first, second, pair) = guards();
    let context = holds(first, second, pair, trace.clone());
    assert_eq!(with(context, async |_| Ok::<_, Error>(())).await, Ok(()));
    trace.expect(&order);

    let (first, second, pair) = guards();
    drop(holds(first, second, pair, trace.clone()));
    // Never entered, it is captures that are dropped, in an order that the language leaves open.
    let mut dropped = trace.take();
    dropped.sort();
    assert_eq!(dropped, ["first", "left", "right", "second"]);
}

/// Each place in which a `lend!` may stand.
#[tenure::context]
async fn places(n: u8) -> Result<u8, Error> {
    let mut tries = 0;
    let end = match n {
        0 => {
            if tries == 0 {
                lend!(n).value
            } else {
                lend![n + 1].value
            }
        }
        1 => loop {
            tries += 1;
            if tries < 3 {
                continue;
            }
            let back = lend!(n);
            break back.value;
        },
        2 => 'found: {
            let Some(tries) = Some(tries) else {
                return Err(Error::Enter);
            };
            if tries == 0 {
                break 'found tenure::lend!(n,).value;
            }
            lend! { n }.value
        }
        3 => lend!(u8::from_str("3").map_err(|_: ParseIntError| Error::Enter)?)
            .value
            .checked_add(0)
            .ok_or(Error::Exit)?,
        4 => {
            if tries > 0 {
                lend!(n);
                unreachable!("it has not tried");
            }
            lend! { n }
            4
        }
        5 if tries > 0 || lend!(n).ended.is_completed() => 5,
        _ => return Err(Error::Enter),
    };
    if end == n { Ok(()) } else { Err(Error::Exit) }
}

#[tenure::test]
async fn lend_may_stand_wherever_await_may() {
    for n in 0..6 {
        assert_eq!(with(places(n), async |lent| Ok::<_, Error>(**lent)).await, Ok(n));
    }
    assert_eq!(with(places(6), async |_| Ok::<_, Error>(())).await, Err(Error::Enter));
}

#[tenure::context]
async fn generic<'a, T, const N: usize>(
    mut items: [T; N],
    show: impl Fn(&T) -> String + Send + 'static,
    _name: &'static str,
) -> Result<Vec<String>, Error>
where
    T: Display + Send + 'static,
    String: PartialEq<&'a str>,
{
    items.reverse();
    let shown: Vec<String> = items.iter().map(show).collect();
    let back = lend!(shown);
    assert!(back.value.iter().all(|shown| *shown == "<1>" || *shown == "<2>"));
    Ok(())
}

/// An alias, of which only the compiler knows the parts.
type Fallible<T> = Result<T, Error>;

#[tenure::context]
async fn alias() -> Fallible<u8> {
    lend!(8);
    Ok(())
}

#[tenure::context]
async fn opaque() -> Result<impl Fn() -> u8 + Send + 'static, Error> {
    lend!(|| 9);
    Ok(())
}

/// What coerces in an `async fn` does here.
#[tenure::context]
async fn coerced(early: bool) -> Result<Box<dyn Display + Send>, Box<dyn std::error::Error + Send + Sync>> {
    if early {
        return Err(Box::new(std::fmt::Error));
    }
    lend!(Box::new(3));
    Err(Box::new(std::fmt::Error))
}

#[tenure::test]
async fn signatures_of_every_kind_are_kept() {
    let shown = with(generic([1, 2], |n| format!("<{n}>"), "x"), async |shown| Ok::<_, Error>(shown.join("")));
    assert_eq!(shown.await, Ok("<2><1>".to_owned()));
    assert_eq!(with(alias(), async |n| Ok::<_, Error>(**n)).await, Ok(8));
    assert_eq!(with(opaque(), async |f| Ok::<_, Error>(f())).await, Ok(9));
    for early in [true, false] {
        let error = with(coerced(early), async |n| {
            assert_eq!(n.to_string(), "3");
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        assert!(error.await.unwrap_err().is::<std::fmt::Error>());
    }
}

#[derive(Clone)]
struct Service {
    name: String,
}

trait Opens {
    fn open(self) -> impl Future<Output = Result<tenure::Lent<String, Error>, Error>> + Send;
}

impl Opens for Service {
    #[tenure::context]
    async fn open(mut self) -> Result<String, Error> {
        self.name.push('!');
        lend!(self.name);
        Ok(())
    }
}

impl Service {
    #[tenure::context]
    async fn shared(self: Arc<Self>, suffix: &'static str) -> Result<(Arc<Self>, String), Error> {
        let name = format!("{}{suffix}", self.name);
        lend!((Arc::clone(&self), name));
        Ok(())
    }

    #[tenure::context]
    async fn unused(self, trace: Trace) -> Result<OnDrop, Error> {
        lend!(trace.on_drop("value"));
        Ok(())
    }
}

/// Of which a method uses one field.
struct Guarded {
    name: &'static str,
    _guard: OnDrop,
}

impl Guarded {
    #[tenure::context]
    async fn open(self, trace: Trace) -> Result<&'static str, Error> {
        lend!(self.name);
        trace.push("exit");
        Ok(())
    }
}

#[tenure::test]
async fn self_is_held_whole_to_the_end() {
    let trace = Trace::new();
    let guarded = Guarded { name: "a", _guard: trace.on_drop("guard") };
    assert_eq!(with(guarded.open(trace.clone()), async |_| Ok::<_, Error>(())).await, Ok(()));
    trace.expect(&["exit", "guard"]);
}

#[tenure::test]
async fn methods_are_contexts_too() {
    let service = Service { name: "db".into() };
    let opened = with(service.clone().open(), async |name| Ok::<_, Error>(name.clone()));
    assert_eq!(opened.await, Ok("db!".to_owned()));
    let shared = with(Arc::new(service.clone()).shared("?"), async |both| Ok::<_, Error>(both.1.clone()));
    assert_eq!(shared.await, Ok("db?".to_owned()));
    let trace = Trace::new();
    assert_eq!(with(service.unused(trace.clone()), async |_| Ok::<_, Error>(())).await, Ok(()));
    trace.expect(&["value"]);
}

#[test]
fn a_context_can_be_sent_anywhere_and_borrows_nothing() {
    fn check<C: Future + Send + 'static>(_: C) {}
    check(alias());
    check(opaque());
    check(countdown(3));
    let name = String::from("items");
    check(generic([1], move |_| name.clone(), "x"));
    check(Service { name: "db".into() }.open());
}
