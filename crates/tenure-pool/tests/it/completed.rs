//! What a manager wants done after a use that completed, on every path on which such a use ends; and hooks that misbehave.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tenure::{Stopped, hold, with};
use tenure_pool::{
    AddErrorKind, BuildError, Context, CreateContext, GetError, GetErrorKind, Hooks, KeyedPool, LeaseEnd,
    Manager, Next, Pool, PoolError, Why,
};

use crate::support::settle;

/// Says after each completed use what is to be done, and writes down what was.
struct Careful {
    next: Mutex<Next>,
    calls: Mutex<Vec<(&'static str, Why)>>,
    fails: bool,
}

impl Careful {
    fn new(next: Next) -> Self {
        Self { next: Mutex::new(next), calls: Mutex::default(), fails: false }
    }

    fn call(&self, what: &'static str, why: Why) -> io::Result<()> {
        self.calls.lock().unwrap().push((what, why));
        if self.fails { Err(io::Error::other(what)) } else { Ok(()) }
    }

    fn take(&self) -> Vec<(&'static str, Why)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Manager for Careful {
    /// `true` if it was used since it was proved.
    type Resource = bool;
    type Error = io::Error;

    async fn create(&self, _: CreateContext) -> io::Result<bool> {
        Ok(false)
    }

    async fn check(&self, used: &mut bool, context: Context) -> io::Result<()> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        *used = false;
        self.call("check", context.why)
    }

    async fn reset(&self, used: &mut bool, context: Context) -> io::Result<()> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        *used = false;
        self.call("reset", context.why)
    }

    fn assess_completed(&self, used: &mut bool) -> Next {
        let next = *self.next.lock().unwrap();
        if *used { next } else { Next::Keep }
    }

    fn assess(&self, _: &mut bool, _: LeaseEnd<'_>) -> Next {
        Next::Keep
    }
}

/// What a body of these tests fails with.
#[derive(Debug)]
struct Oops;

impl From<GetError> for Oops {
    fn from(_: GetError) -> Self {
        Self
    }
}

impl From<Stopped> for Oops {
    fn from(_: Stopped) -> Self {
        Self
    }
}

impl From<PoolError> for Oops {
    fn from(_: PoolError) -> Self {
        Self
    }
}

impl From<BuildError> for Oops {
    fn from(_: BuildError) -> Self {
        Self
    }
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Complete,
    With,
    Held,
    Scope,
    Several,
    TryGet,
    Owned,
}

const PATHS: [Path; 7] =
    [Path::Complete, Path::With, Path::Held, Path::Scope, Path::Several, Path::TryGet, Path::Owned];

async fn use_by(path: Path, pool: &Pool<Careful>) -> Result<(), Oops> {
    match path {
        Path::Complete => {
            let mut lease = pool.get().await?;
            *lease = true;
            lease.complete();
        }
        Path::With => {
            with(pool.get(), async |lease| {
                **lease = true;
                Ok::<_, Oops>(())
            })
            .await?;
        }
        Path::Held => {
            let mut held = hold(pool.get()).await?;
            **held = true;
            held.close().await?;
        }
        Path::Scope => {
            pool.scope(async |lease| {
                **lease = true;
                Ok::<_, Oops>(())
            })
            .await?;
        }
        Path::Several => {
            with(pool.get_many(1), async |leases| {
                *leases[0] = true;
                Ok::<_, Oops>(())
            })
            .await?;
        }
        Path::TryGet => {
            let mut lease = pool.try_get().ok_or(Oops)?;
            *lease = true;
            lease.complete();
        }
        Path::Owned => {
            let mut lease = pool.get_owned().await?;
            *lease = true;
            lease.complete();
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn law_no_dirty_resource_reaches_a_user_on_every_path_of_a_completed_use() {
    for (next, said) in [(Next::Check, "check"), (Next::Reset, "reset")] {
        for path in PATHS {
            let pool = Pool::builder(Careful::new(next)).max_size(1).build().unwrap();
            pool.get().await.unwrap().complete();
            assert_eq!(pool.manager().take(), [], "it was not used");
            use_by(path, &pool).await.unwrap();
            assert!(pool.try_get().is_none(), "{path:?}: it is not lent before");
            let lease = pool.get().await.unwrap();
            assert!(!*lease, "{path:?}");
            assert_eq!(pool.manager().take(), [(said, Why::Returned)], "{path:?}");
            lease.complete();
            assert!(pool.close().await.is_clean());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_completed_use_of_a_keyed_pool_is_tended_too() {
    let pools = KeyedPool::builder(1, |_: &u32| Careful::new(Next::Check)).build();
    let mut lease = pools.get(&1).await.unwrap();
    *lease = true;
    lease.complete();
    let lease = pools.get(&1).await.unwrap();
    assert!(!*lease);
    lease.complete();
    let reports = pools.close_within(Duration::from_secs(1)).await;
    assert!(reports.iter().all(|(_, report)| report.is_clean()));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_it_after_the_check_and_a_failed_one_costs_the_resource_alone() {
    let pool = Pool::builder(Careful { fails: true, ..Careful::new(Next::Check) }).max_size(2).build().unwrap();
    let (mut one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    other.complete();
    *one = true;
    one.complete();
    settle().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // What one user has left tells nothing of the others: they are not checked.
    assert_eq!(pool.manager().take(), [("check", Why::Returned)]);
    assert_eq!((pool.counters().check_failures, pool.counters().closed), (1, 1));
    assert_eq!(pool.status().idle, 1);
    assert_eq!(pool.closed_for(Why::CheckFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_wants_it_closed_or_panics_has_it_closed() {
    struct Panics;
    impl Manager for Panics {
        type Resource = ();
        type Error = io::Error;
        async fn create(&self, _: CreateContext) -> io::Result<()> {
            Ok(())
        }
        async fn reset(&self, (): &mut (), _: Context) -> io::Result<()> {
            Ok(())
        }
        fn assess_completed(&self, (): &mut ()) -> Next {
            panic!("scripted")
        }
    }
    let pool = Pool::builder(Panics).max_size(1).build().unwrap();
    pool.get().await.unwrap().complete();
    settle().await;
    assert_eq!((pool.counters().closed, pool.closed_for(Why::Broken)), (1, 1));

    let pool = Pool::builder(Careful::new(Next::Close)).max_size(1).build().unwrap();
    use_by(Path::Complete, &pool).await.unwrap();
    settle().await;
    assert_eq!((pool.counters().closed, pool.closed_for(Why::Broken)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_added_is_tended_before_it_is_lent_where_its_manager_asks_for_it() {
    for (next, said) in [(Next::Check, "check"), (Next::Reset, "reset")] {
        let pool = Pool::builder(Careful::new(next)).max_size(1).build().unwrap();
        pool.add(true).unwrap();
        assert!(pool.try_get().is_none());
        assert!(!*pool.get().await.unwrap());
        assert_eq!(pool.manager().take(), [(said, Why::Returned)]);
    }
    let pool = Pool::builder(Careful::new(Next::Close)).max_size(1).build().unwrap();
    assert_eq!(pool.add(true).unwrap_err().kind, AddErrorKind::Broken);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Fail,
    Panic,
    Hang,
}

/// One of its hooks misbehaves once.
struct Hooking {
    at: &'static str,
    act: Mutex<Option<Act>>,
}

impl Hooking {
    async fn step(&self, at: &'static str) -> io::Result<()> {
        let act = if at == self.at { self.act.lock().unwrap().take() } else { None };
        match act {
            None => Ok(()),
            Some(Act::Fail) => Err(io::Error::other(at)),
            Some(Act::Panic) => panic!("scripted panic in {at}"),
            Some(Act::Hang) => std::future::pending().await,
        }
    }
}

impl Manager for Hooking {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, _: CreateContext) -> io::Result<()> {
        Ok(())
    }
    async fn reset(&self, (): &mut (), _: Context) -> io::Result<()> {
        Ok(())
    }
    fn hooks(&self) -> Hooks {
        Hooks::default().on_get(true).on_return(true)
    }
    async fn on_get(&self, (): &mut (), _: Context) -> io::Result<()> {
        self.step("on_get").await
    }
    async fn on_return(&self, (): &mut (), _: Context) -> io::Result<()> {
        self.step("on_return").await
    }
}

#[tokio::test(start_paused = true)]
async fn law_hooks_that_fail_panic_or_hang_cost_the_resource_and_no_permit() {
    for at in ["on_get", "on_return"] {
        for act in [Act::Fail, Act::Panic, Act::Hang] {
            let limit = Duration::from_secs(1);
            let pool = Pool::builder(Hooking { at, act: Mutex::new(Some(act)) }).max_size(2);
            let pool = pool.check_timeout(limit).reset_timeout(limit).build().unwrap();
            for _ in 0..3 {
                pool.get().await.unwrap().complete();
            }
            tokio::time::sleep(2 * limit).await;
            let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
            assert_eq!(pool.counters().hook_failures, 1, "{at} {act:?}");
            assert_eq!(pool.closed_for(Why::HookFailed), 1, "{at} {act:?}");
            drop(leases);
            assert!(pool.close().await.is_clean(), "{at} {act:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_get_covers_its_hook_which_goes_on() {
    let pool =
        Pool::builder(Hooking { at: "on_get", act: Mutex::new(Some(Act::Hang)) }).max_size(1).build().unwrap();
    let began = tokio::time::Instant::now();
    let late = pool.get().timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(late.kind(), GetErrorKind::CheckPending);
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    pool.get().await.unwrap().complete();
    assert_eq!(pool.counters().opened, 2);
}
