//! The operations, each beside the same calls written by hand.

use std::hint::black_box;
use std::pin::Pin;

use tenure::{
    AsyncExit, ExitStack, Outcome, context, hold, join, shield, with, with_detailed, with_recovering,
    with_stack,
};

use crate::resource::{Recovering, Resource, Trouble, complete, enter, fail, wait_once};

/// Something done again and again, by its name.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// What the command line calls it.
    pub name: &'static str,
    /// The name of the operation that does the same by hand, or this one's where there is none.
    pub by_hand: &'static str,
    /// How many tenures one operation makes.
    pub tenures: u64,
    repeat: fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Operation {
    /// Does the operation so many times, one after the other, in the task that awaits it.
    pub async fn repeat(&self, times: u64) {
        (self.repeat)(times).await;
    }
}

/// The operation of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

macro_rules! operations {
    ($($name:ident / $by_hand:ident * $tenures:literal),* $(,)?) => {
        /// All operations.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            name: stringify!($name),
            by_hand: stringify!($by_hand),
            tenures: $tenures,
            repeat: |times| Box::pin(async move {
                for number in 0..times {
                    let _ = black_box($name(black_box(number)).await);
                }
            }),
        }),*];
    };
}

operations! {
    by_hand / by_hand * 1,
    by_hand_boxed / by_hand * 1,
    by_hand_spawned / by_hand * 1,
    plain_with / by_hand * 1,
    detailed / by_hand * 1,
    recovering / by_hand * 1,
    shielded / by_hand * 1,
    held / by_hand * 1,
    by_hand_failing / by_hand_failing * 1,
    with_failing / by_hand_failing * 1,
    by_hand_waiting / by_hand_waiting * 1,
    with_waiting / by_hand_waiting * 1,
    by_hand_nested / by_hand_nested * 3,
    with_nested / by_hand_nested * 3,
    join_three / by_hand_nested * 3,
    generator / by_hand * 1,
    stack_0 / stack_0 * 0,
    stack_1 / by_hand * 1,
    stack_10 / by_hand * 10,
    stack_10000 / by_hand * 10_000,
    stack_push_10 / by_hand * 10,
    stack_defer_10 / by_hand * 10,
    stack_closed_10 / by_hand * 10,
}

/// Enter, body, exit, as one writes it without a library: nothing is exited when it is dropped or panics.
async fn around<F>(number: u64, body: F) -> Result<u64, Trouble>
where
    F: AsyncFnOnce(&mut Resource) -> Result<u64, Trouble>,
{
    let mut resource = enter(number).await?;
    let result = body(&mut resource).await;
    let exited = resource.exit(outcome_of(&result)).await;
    let value = result?;
    exited?;
    Ok(value)
}

fn outcome_of(result: &Result<u64, Trouble>) -> Outcome<'_> {
    match result {
        Ok(_) => Outcome::Completed,
        Err(error) => Outcome::failed(error),
    }
}

async fn by_hand(number: u64) -> Result<u64, Trouble> {
    around(number, complete).await
}

/// By hand with the exit in a box: what any exit costs that can outlive its caller.
async fn by_hand_boxed(number: u64) -> Result<u64, Trouble> {
    let mut resource = enter(number).await?;
    let result = complete(&mut resource).await;
    let exit: Pin<Box<dyn Future<Output = _> + Send>> =
        black_box(Box::pin(async move { resource.exit(Outcome::Completed).await }));
    exit.await?;
    result
}

/// By hand with the exit spawned as a task, and awaited: an exit that outlives its caller, without a library.
async fn by_hand_spawned(number: u64) -> Result<u64, Trouble> {
    let mut resource = enter(number).await?;
    let result = complete(&mut resource).await;
    let exit = tokio::spawn(async move { resource.exit(Outcome::Completed).await });
    exit.await.expect("the exit does not panic")?;
    result
}

async fn plain_with(number: u64) -> Result<u64, Trouble> {
    with(enter(number), complete).await
}

async fn detailed(number: u64) -> Result<u64, Trouble> {
    with_detailed(enter(number), complete).await.map_err(|_| Trouble(number))
}

async fn recovering(number: u64) -> Result<Option<u64>, Trouble> {
    let entering = async { enter(number).await.map(Recovering) };
    with_recovering(entering, async |resource: &mut Recovering| complete(&mut resource.0).await).await
}

async fn shielded(number: u64) -> Result<u64, Trouble> {
    with(shield(enter(number)), complete).await
}

async fn held(number: u64) -> Result<u64, Trouble> {
    let mut resource = hold(enter(number)).await?;
    let value = complete(&mut resource).await?;
    resource.close().await?;
    Ok(value)
}

async fn by_hand_failing(number: u64) -> Result<u64, Trouble> {
    around(number, fail).await
}

async fn with_failing(number: u64) -> Result<u64, Trouble> {
    with(enter(number), fail).await
}

async fn by_hand_waiting(number: u64) -> Result<u64, Trouble> {
    around(number, wait_once).await
}

async fn with_waiting(number: u64) -> Result<u64, Trouble> {
    with(enter(number), wait_once).await
}

async fn by_hand_nested(number: u64) -> Result<u64, Trouble> {
    around(number, async |first: &mut Resource| {
        around(first.0, async |second: &mut Resource| around(second.0, complete).await).await
    })
    .await
}

async fn with_nested(number: u64) -> Result<u64, Trouble> {
    with(enter(number), async |first: &mut Resource| {
        with(enter(first.0), async |second: &mut Resource| with(enter(second.0), complete).await).await
    })
    .await
}

async fn join_three(number: u64) -> Result<u64, Trouble> {
    let three = join((enter(number), enter(number), enter(number)));
    with(three, async |(first, second, third): &mut (Resource, Resource, Resource)| {
        complete(first).await?;
        complete(second).await?;
        complete(third).await
    })
    .await
}

async fn generator(number: u64) -> Result<u64, Trouble> {
    let lending = context(async move |lender| {
        let resource = enter(number).await?;
        let back = lender.lend(resource).await;
        back.value.exit(Outcome::Completed).await
    });
    with(lending, async |resource| complete(resource).await).await
}

async fn stack_0(_: u64) -> Result<u64, Trouble> {
    stack(0).await
}

async fn stack_1(_: u64) -> Result<u64, Trouble> {
    stack(1).await
}

async fn stack_10(_: u64) -> Result<u64, Trouble> {
    stack(10).await
}

async fn stack_10000(_: u64) -> Result<u64, Trouble> {
    stack(10_000).await
}

/// So many contexts, entered on a stack in a body, exited behind it.
async fn stack(entries: u64) -> Result<u64, Trouble> {
    with_stack(async |stack: &mut ExitStack<Trouble>| {
        let mut sum = 0;
        for number in 0..entries {
            sum += complete(stack.enter(enter(number)).await?).await?;
        }
        Ok(sum)
    })
    .await
}

async fn stack_push_10(_: u64) -> Result<u64, Trouble> {
    with_stack(async |stack: &mut ExitStack<Trouble>| {
        let mut sum = 0;
        for number in 0..10 {
            sum += complete(stack.push(Resource(number))).await?;
        }
        Ok(sum)
    })
    .await
}

async fn stack_defer_10(_: u64) -> Result<u64, Trouble> {
    with_stack(async |stack: &mut ExitStack<Trouble>| {
        for number in 0..10_u64 {
            stack.defer(move || {
                black_box(number);
            });
        }
        Ok(10)
    })
    .await
}

/// A stack without a body around it, closed by hand.
async fn stack_closed_10(_: u64) -> Result<u64, Trouble> {
    let stack = ExitStack::<Trouble>::new();
    let mut sum = 0;
    for number in 0..10 {
        sum += complete(stack.enter(enter(number)).await?).await?;
    }
    stack.close().await.map_err(|_| Trouble(sum))?;
    Ok(sum)
}
