//! Each way to hold something inside each other, cancelled and failed everywhere.
//!
//! A way is an async function of a recorder, a level and what is to run inside; a program is a list of ways, outermost
//! first. Resources are named after their level, so that the check knows who encloses whom, in whatever task.

use std::pin::Pin;

use tenure::{
    Ended, ExitStack, Lender, Options, Stopped, TaskGroup, Verdict, WithError, context, hold, join, shield,
    task_group, with, with_detailed, with_recovering, with_stack,
};
use tenure_test::{CancelBy, Fault, Flavour, Proof, Recorder};

use crate::support::{Error, LONG};

type Inner = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A way to hold something while `inner` runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    With,
    Shielded,
    Detailed,
    Recovering,
    Limited,
    Stopped,
    Held,
    HeldDropped,
    Stack,
    StackByHand,
    Generator,
    Join,
    Group,
}

const WAYS: [Way; 13] = [
    Way::With,
    Way::Shielded,
    Way::Detailed,
    Way::Recovering,
    Way::Limited,
    Way::Stopped,
    Way::Held,
    Way::HeldDropped,
    Way::Stack,
    Way::StackByHand,
    Way::Generator,
    Way::Join,
    Way::Group,
];

impl Way {
    fn around(self, recorder: Recorder, level: &'static str, inner: Inner) -> Inner {
        match self {
            Self::With => Box::pin(by_with(recorder, level, inner)),
            Self::Shielded => Box::pin(by_shield(recorder, level, inner)),
            Self::Detailed => Box::pin(by_detailed(recorder, level, inner)),
            Self::Recovering => Box::pin(by_recovering(recorder, level, inner)),
            Self::Limited => Box::pin(by_limits(recorder, level, inner)),
            Self::Stopped => Box::pin(by_a_stop(recorder, level, inner)),
            Self::Held => Box::pin(by_a_guard(recorder, level, inner)),
            Self::HeldDropped => Box::pin(by_a_dropped_guard(recorder, level, inner)),
            Self::Stack => Box::pin(by_a_stack(recorder, level, inner)),
            Self::StackByHand => Box::pin(by_a_stack_closed_by_hand(recorder, level, inner)),
            Self::Generator => Box::pin(by_a_generator(recorder, level, inner)),
            Self::Join => Box::pin(by_join(recorder, level, inner)),
            Self::Group => Box::pin(by_a_group(recorder, level, inner)),
        }
    }
}

async fn by_with(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    with(recorder.resource(level), async |_| inner.await).await
}

async fn by_shield(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    with(shield(recorder.resource(level)), async |_| inner.await).await
}

async fn by_detailed(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let result = with_detailed(recorder.resource(level), async |_| inner.await).await;
    result.map_err(|error| match error {
        WithError::Enter(fault) => fault.into(),
        WithError::Body { error, .. } => error,
        other => Fault::new(format!("{other:?}")).into(),
    })
}

async fn by_recovering(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let forgiving = recorder.resource(level).recovering(Verdict::Recover);
    with_recovering(forgiving, async |_| inner.await).await.map(drop)
}

async fn by_limits(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let options = Options::new().body_timeout(LONG).exit_limit(LONG).cancel_on(tenure::CancelToken::new());
    options.with(recorder.resource(level), async |_| inner.await).await
}

async fn by_a_stop(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let token = tenure::CancelToken::new();
    let stopped = Options::new().cancel_on(&token).with(recorder.resource(level), async |_| {
        inner.await?;
        token.cancel();
        Ok(recorder.step("stopped here").await?)
    });
    match stopped.await {
        Err(Error::Stopped(Stopped::Cancelled)) => Ok(()),
        other => other,
    }
}

async fn by_a_guard(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let held = hold(recorder.resource(level)).await?;
    let result = inner.await;
    held.exit_with(result).await
}

async fn by_a_dropped_guard(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let _held = hold(recorder.resource(level)).await?;
    inner.await
}

async fn by_a_stack(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    with_stack(async |stack: &mut ExitStack<Error>| {
        stack.enter(recorder.resource(level)).await?;
        stack.enter(recorder.resource(level)).await?;
        inner.await
    })
    .await
}

async fn by_a_stack_closed_by_hand(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let mut source = ExitStack::<Error>::new();
    source.enter(recorder.resource(level)).await?;
    source.enter(recorder.resource(level)).await?;
    let stack = source.pop_all();
    inner.await?;
    Ok(stack.close().await?)
}

async fn by_a_generator(recorder: Recorder, level: &'static str, inner: Inner) -> Result<(), Error> {
    let inside = recorder.clone();
    let generator = context(async move |lender: Lender<()>| {
        with(inside.resource(level), async |_| {
            let back = lender.lend(()).await;
            match back.ended {
                Ended::Completed => Ok::<_, Error>(inside.step("after the lend").await?),
                _ => Ok(()),
            }
        })
        .await
    });
    with(generator, async |_| inner.await).await
}

async fn by_join(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    let both = join((recorder.resource(level), shield(recorder.resource(level))));
    with(both, async |_| inner.await).await
}

async fn by_a_group(recorder: Recorder, level: &str, inner: Inner) -> Result<(), Error> {
    with(recorder.resource(level), async |_| {
        with(async { Ok::<_, Error>(task_group::<Error>().await?) }, async |group: &mut TaskGroup<Error>| {
            group.spawn(inner);
            Ok(recorder.step("beside the child").await?)
        })
        .await
    })
    .await
}

const LEVELS: [&str; 3] = ["level 0", "level 1", "level 2"];

fn program(ways: &[Way], recorder: &Recorder) -> Inner {
    let step = recorder.clone();
    let innermost: Inner = Box::pin(async move { Ok(step.step("innermost").await?) });
    let levels = ways.iter().zip(LEVELS).rev();
    levels.fold(innermost, |inner, (way, level)| way.around(recorder.clone(), level, inner))
}

fn proof(ways: &[Way]) -> Proof {
    let depth = ways.len();
    let proof = Proof::new().check(move |run| async move {
        let trace = run.trace();
        let entered: Vec<_> = LEVELS[..depth].iter().filter(|level| trace.entered(level) > 0).collect();
        for pair in entered.windows(2) {
            trace.assert_nested(pair[1], pair[0]);
        }
        Ok(())
    });
    // Joined resources are no order's; what is around and inside of them is, which the check sees to.
    if ways.contains(&Way::Join) { proof.unordered() } else { proof }
}

#[track_caller]
fn everywhere(ways: &[Way]) {
    let cancelled = proof(ways).try_cancel_everywhere(|recorder| program(ways, &recorder));
    let report = cancelled.unwrap_or_else(|leak| panic!("{ways:?}: {leak}"));
    assert!(report.suspensions > ways.len() as u64, "{ways:?}: {report}");
    let failed = proof(ways).try_fail_everywhere(|recorder| program(ways, &recorder));
    let report = failed.unwrap_or_else(|leak| panic!("{ways:?}: {leak}"));
    assert!(report.faults > 4 * ways.len() as u64, "{ways:?}: {report}");
}

/// The way alone, with pairs of faults and faults with cancellation; and the way around each other.
#[track_caller]
fn around_each(outer: Way) {
    everywhere(&[outer]);
    let alone = proof(&[outer]).flavour(Flavour::CurrentThread).pairs().and_cancel();
    let report = alone.try_fail_everywhere(|recorder| program(&[outer], &recorder));
    assert!(report.unwrap_or_else(|leak| panic!("{outer:?}: {leak}")).runs > 100);
    for inner in WAYS {
        everywhere(&[outer, inner]);
    }
}

/// The way around each two others: on one thread, dropped at once.
#[track_caller]
fn around_each_two(outer: Way) {
    for middle in WAYS {
        for inner in WAYS {
            let ways = [outer, middle, inner];
            let proof = proof(&ways).flavour(Flavour::CurrentThread).cancel_by([CancelBy::Drop]);
            let report = proof.try_cancel_everywhere(|recorder| program(&ways, &recorder));
            assert!(report.unwrap_or_else(|leak| panic!("{ways:?}: {leak}")).suspensions >= 4);
        }
    }
}

macro_rules! ways {
    ($($name:ident: $way:ident,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn law_07_law_13_around_each() {
                around_each(Way::$way);
            }

            #[test]
            fn law_07_law_13_around_each_two() {
                around_each_two(Way::$way);
            }
        }
    )*};
}

ways! {
    a_with: With,
    a_shield: Shielded,
    a_detailed: Detailed,
    a_recovering: Recovering,
    a_limit: Limited,
    a_stop: Stopped,
    a_guard: Held,
    a_dropped_guard: HeldDropped,
    a_stack: Stack,
    a_stack_by_hand: StackByHand,
    a_generator: Generator,
    a_join: Join,
    a_group: Group,
}
