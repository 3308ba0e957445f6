//! Auto traits of what is public, and where a tenure can be put: spawned, generic, boxed.

use std::pin::Pin;
use std::rc::Rc;

use tenure::{
    AsyncExit, CancelToken, Closing, Counters, DrainReport, Ended, Ending, ExitErrors, ExitStack, Held,
    Incident, Lender, Lent, LentRecovering, NeverLent, OpenTenure, OpenTenures, Options, Outcome, Released,
    Returned, Run, SpawnError, Spawner, Stopped, TaskGroup, Verdict, WithError, hold, join, shield, task_group,
    with, with_detailed, with_local, with_recovering, with_stack,
};
use tenure_test::{Fault, Recorded, Recorder, both_flavours};

use crate::support::Error;

const fn send<T: Send>() {}
const fn send_sync<T: Send + Sync>() {}
const fn send_sync_unpin<T: Send + Sync + Unpin>() {}

#[test]
fn types_are_what_they_are() {
    send_sync_unpin::<(CancelToken, Counters, DrainReport, Ended, Incident, OpenTenure, OpenTenures)>();
    send_sync_unpin::<(Run, Stopped, Verdict, NeverLent, Outcome<'_>, Ending)>();
    send_sync_unpin::<(ExitErrors<Fault>, WithError<Fault, Fault, Fault>, SpawnError<Fault>)>();
    send_sync_unpin::<(Closing<u8, ()>, Released<u8, Fault>, TaskGroup<Fault>, Spawner<Fault>)>();
    send_sync_unpin::<(Lent<u8, Fault>, LentRecovering<u8, Fault>)>();
    send_sync::<Held<Recorded>>();
    send::<(ExitStack<Fault>, Options, Lender<u8>, Returned<u8>)>();
}

#[test]
fn futures_are_send_whatever_they_borrow() {
    fn check<F: Future + Send>(_: F) {}
    let recorder = Recorder::new();
    let resource = || recorder.resource("a");
    check(with(resource(), async |_| recorder.step("borrows").await));
    check(with_detailed(resource(), async |_| recorder.step("borrows").await));
    check(with_recovering(resource().recovering(Verdict::Recover), async |_| recorder.step("borrows").await));
    check(with_stack(async |stack: &mut ExitStack<Fault>| {
        let a = stack.enter(resource()).await?;
        recorder.step(a.name()).await
    }));
    check(Options::new().with(resource(), async |_| Ok::<_, Error>(recorder.step("borrows").await?)));
    check(hold(resource()));
    check(shield(resource()));
    check(join((resource(), resource())));
    check(join(vec![resource()]));
    check(task_group::<Fault>());
    check(tenure::drain(std::time::Duration::ZERO));
    check(ExitStack::<Fault>::new().close());
    check(tenure::run(async {}));
}

#[test]
fn a_tenure_is_spawned_with_what_it_borrows() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let spawned = tokio::spawn({
            let recorder = recorder.clone();
            async move {
                let mut names = Vec::new();
                with(recorder.resource("a"), async |a| {
                    recorder.step("one").await?;
                    names.push(a.name().to_owned());
                    with(recorder.resource("b"), async |b| Ok::<_, Fault>(names.push(b.name().to_owned())))
                        .await
                })
                .await?;
                Ok::<_, Fault>(names)
            }
        });
        assert_eq!(spawned.await.unwrap().unwrap(), ["a", "b"]);
    });
}

async fn generic<C, R, T>(context: C, value: T) -> Result<T, Fault>
where
    C: IntoFuture<Output = Result<R, Fault>, IntoFuture: Send> + Send,
    R: AsyncExit<Error = Fault>,
    T: Clone + Send + Sync,
{
    with(context, async |_| {
        tenure_test::suspend(1).await;
        Ok(value.clone())
    })
    .await
}

#[test]
fn generic_code_is_spawned_too() {
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let name = String::from("a");
        assert_eq!(tokio::spawn(generic(recorder.resource("a"), name)).await.unwrap().unwrap(), "a");
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn contexts_are_boxed_and_picked_at_run_time() {
    type Boxed = Pin<Box<dyn Future<Output = Result<Recorded, Fault>> + Send>>;
    both_flavours(|_| async {
        let recorder = Recorder::new();
        let (a, b) = (recorder.resource("a"), recorder.resource("b"));
        let boxed: [Boxed; 2] = [Box::pin(a.into_future()), Box::pin(async { b.await })];
        for context in boxed {
            with(context, async |_| recorder.step("body").await).await.unwrap();
        }
        recorder.trace().assert_all_exited_once();
    });
}

#[test]
fn a_body_that_is_not_send_runs_where_it_is() {
    both_flavours(|_| async {
        let (recorder, shared) = (Recorder::new(), Rc::new(7));
        let value = with_local(recorder.resource("a"), async |_| {
            let shared = Rc::clone(&shared);
            tenure_test::suspend(1).await;
            Ok::<_, Fault>(*shared)
        });
        assert_eq!(value.await, Ok(7));
    });
}

/// Resources and errors whose types mention a lifetime, be it `'static`: the compiler forgets which where it asks whether
/// the whole is `Send`, so `with` and its like have to say so themselves.
mod lifetimes_in_types {
    use std::error::Error;
    use std::pin::Pin;

    use tenure::{
        AsyncExit, ExitStack, Lender, Options, Outcome, context, hold, join, shield, with, with_stack,
    };
    use tokio::task::yield_now;

    type Boxed = Box<dyn Error + Send + Sync>;

    type BoxedEnter<T> = Pin<Box<dyn Future<Output = Result<Named<T>, Boxed>> + Send>>;

    struct Named<T>(T);

    impl<T: Send + 'static> AsyncExit for Named<T> {
        type Error = Boxed;

        async fn exit(self, _: Outcome<'_>) -> Result<(), Boxed> {
            Ok(())
        }
    }

    async fn name<T>(value: T) -> Result<Named<T>, Boxed> {
        Ok(Named(value))
    }

    #[derive(Debug)]
    struct Any;

    impl<E: Into<Boxed>> From<E> for Any {
        fn from(_: E) -> Self {
            Self
        }
    }

    async fn every_way() -> Result<usize, Any> {
        let mut length = 0;
        with(name("with"), async |name| {
            yield_now().await;
            length += name.0.len();
            Ok::<_, Any>(())
        })
        .await?;
        let lent = context(async |lender: Lender<&'static str>| {
            lender.lend("context").await;
            Ok::<(), Boxed>(())
        });
        with(lent, async |name| {
            yield_now().await;
            length += name.len();
            Ok::<_, Any>(())
        })
        .await?;
        let boxed: BoxedEnter<&'static str> = Box::pin(name("shield"));
        with(shield(boxed), async |name| {
            yield_now().await;
            length += name.0.len();
            Ok::<_, Any>(())
        })
        .await?;
        with_stack(async |stack: &mut ExitStack<Boxed>| {
            let (one, two) = (stack.enter(name("one")).await?, stack.enter(name("two")).await?);
            yield_now().await;
            length += one.0.len() + two.0.len();
            Ok::<_, Boxed>(())
        })
        .await?;
        let joined = join((hold_name("a"), hold_name("b")));
        let (one, two) = joined.await?;
        length += one.0.len() + two.0.len();
        Options::new().name("named").with_detailed(name("options"), async |_| Ok::<_, Boxed>(())).await.ok();
        let held = hold(name("held")).await?;
        yield_now().await;
        length += held.0.len();
        held.close().await?;
        Ok(length)
    }

    async fn hold_name(value: &'static str) -> Result<Named<&'static str>, std::io::Error> {
        yield_now().await;
        Ok(Named(value))
    }

    #[tokio::test]
    async fn can_be_held_in_a_spawned_task() {
        let length = tokio::spawn(every_way()).await.unwrap().unwrap();
        assert_eq!(length, "with context shield one two a b held".replace(' ', "").len());
    }
}
