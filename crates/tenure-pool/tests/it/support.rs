//! A manager whose every step can be scripted, and which notices every broken law.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_pool::{Builder, Context, CreateContext, LeaseEnd, Manager, Next, Pool, Why};

/// What a step of the manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Succeed,
    Fail,
    FailForGood,
    Panic,
    Hang,
}

/// A step: how long it takes, and what it does then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(pub(crate) Duration, pub(crate) Act);

impl Step {
    pub(crate) const NOW: Self = Self(Duration::ZERO, Act::Succeed);

    async fn run(self, what: &str) -> Result<(), Trouble> {
        if !self.0.is_zero() {
            tokio::time::sleep(self.0).await;
        }
        match self.1 {
            Act::Succeed => Ok(()),
            Act::Fail => Err(Trouble { what: what.to_owned(), permanent: false }),
            Act::FailForGood => Err(Trouble { what: what.to_owned(), permanent: true }),
            Act::Panic => panic!("scripted panic in {what}"),
            Act::Hang => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    pub(crate) permanent: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scripted failure of {}", self.what)
    }
}

impl std::error::Error for Trouble {}

type Assess = dyn Fn(LeaseEnd<'_>) -> Next + Send + Sync;
type Script = Box<dyn Fn(u64) -> Step + Send + Sync>;

/// What is written down of all resources of one pool.
pub(crate) struct World {
    create: Mutex<Script>,
    check: Mutex<Script>,
    reset: Mutex<Script>,
    close: Mutex<Script>,
    assess: Mutex<Arc<Assess>>,
    calls: [AtomicU64; 4],
    alive: AtomicUsize,
    most_alive: AtomicUsize,
    opened: AtomicU64,
    closed: AtomicU64,
    dropped: AtomicU64,
    whys: Mutex<Vec<(u64, Why)>>,
    ids: Mutex<BTreeSet<u64>>,
    broken: Mutex<Vec<String>>,
}

impl World {
    /// Writes down a broken law; the test fails at [`Probe::assert_sound`].
    fn breach(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }
}

/// Counts an attempt or a resource as alive while it exists.
struct Alive(Arc<World>);

impl Alive {
    fn new(world: &Arc<World>) -> Self {
        let now = world.alive.fetch_add(1, Ordering::SeqCst) + 1;
        world.most_alive.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(world))
    }
}

impl fmt::Debug for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alive")
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The resource.
#[derive(Debug)]
pub(crate) struct Thing {
    pub(crate) id: u64,
    alive: Alive,
    is_closed: bool,
    dirty: bool,
    held: AtomicBool,
}

impl Thing {
    /// Uses it for a moment that cannot be cut short, and checks that nobody else does and that it is clean.
    pub(crate) fn touch(&mut self) {
        self.begin();
        self.end();
    }

    /// Begins a use; it is dirty until [`end`](Self::end).
    pub(crate) fn begin(&mut self) {
        let world = Arc::clone(&self.alive.0);
        if self.held.swap(true, Ordering::SeqCst) && !self.dirty {
            world.breach(format!("resource {} is with two holders", self.id));
        }
        if self.dirty {
            world.breach(format!("resource {} was lent dirty", self.id));
        }
        self.dirty = true;
    }

    pub(crate) fn end(&mut self) {
        self.dirty = false;
        self.held.store(false, Ordering::SeqCst);
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        let world = &self.alive.0;
        if !self.is_closed {
            world.dropped.fetch_add(1, Ordering::SeqCst);
        }
        if !world.ids.lock().unwrap().remove(&self.id) {
            world.breach(format!("resource {} ended twice", self.id));
        }
    }
}

/// The manager, and the way to look at what it did. Clones share the world.
#[derive(Clone)]
pub(crate) struct Probe(Arc<World>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Create,
    Check,
    Reset,
    Close,
}

impl Probe {
    pub(crate) fn new() -> Self {
        let now = || Mutex::new(Box::new(|_| Step::NOW) as Script);
        Self(Arc::new(World {
            create: now(),
            check: now(),
            reset: now(),
            close: now(),
            assess: Mutex::new(Arc::new(|_| Next::Reset)),
            calls: Default::default(),
            alive: AtomicUsize::new(0),
            most_alive: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            whys: Mutex::default(),
            ids: Mutex::default(),
            broken: Mutex::default(),
        }))
    }

    /// Scripts an operation by the number of its call (create) or of the resource (the others).
    pub(crate) fn script(&self, op: Op, script: impl Fn(u64) -> Step + Send + Sync + 'static) -> &Self {
        let place = match op {
            Op::Create => &self.0.create,
            Op::Check => &self.0.check,
            Op::Reset => &self.0.reset,
            Op::Close => &self.0.close,
        };
        *place.lock().unwrap() = Box::new(script);
        self
    }

    pub(crate) fn always(&self, op: Op, millis: u64, act: Act) -> &Self {
        self.script(op, move |_| Step(Duration::from_millis(millis), act))
    }

    pub(crate) fn assess_by(&self, assess: impl Fn(LeaseEnd<'_>) -> Next + Send + Sync + 'static) -> &Self {
        *self.0.assess.lock().unwrap() = Arc::new(assess);
        self
    }

    /// A pool builder with this manager.
    pub(crate) fn pool(&self) -> Builder<Self> {
        Pool::builder(self.clone())
    }

    pub(crate) fn creates(&self) -> u64 {
        self.0.calls[0].load(Ordering::SeqCst)
    }

    pub(crate) fn checks(&self) -> u64 {
        self.0.calls[1].load(Ordering::SeqCst)
    }

    pub(crate) fn resets(&self) -> u64 {
        self.0.calls[2].load(Ordering::SeqCst)
    }

    pub(crate) fn closes(&self) -> u64 {
        self.0.calls[3].load(Ordering::SeqCst)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.0.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn most_alive(&self) -> usize {
        self.0.most_alive.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Why resources were closed, in order.
    pub(crate) fn whys(&self) -> Vec<Why> {
        self.0.whys.lock().unwrap().iter().map(|&(_, why)| why).collect()
    }

    /// No law was broken so far.
    #[track_caller]
    pub(crate) fn assert_sound(&self, max_size: usize) {
        let broken = self.0.broken.lock().unwrap();
        assert!(broken.is_empty(), "{broken:#?}");
        let most = self.most_alive();
        assert!(most <= max_size, "{most} were alive at once, of {max_size} allowed");
    }

    /// No law was broken, and everything that was opened has ended, by a close or (`dropped`) forcefully.
    #[track_caller]
    pub(crate) fn assert_all_closed(&self, max_size: usize) {
        self.assert_sound(max_size);
        let left = self.0.ids.lock().unwrap();
        assert!(left.is_empty(), "still open: {left:?}");
        assert_eq!(self.alive(), 0, "something is still alive");
        let closed = self.0.closed.load(Ordering::SeqCst);
        assert_eq!(self.opened(), closed + self.dropped(), "opened = closed + dropped");
    }

    fn call(&self, op: usize, script: &Mutex<Script>, id: Option<u64>) -> Step {
        let call = self.0.calls[op].fetch_add(1, Ordering::SeqCst) + 1;
        script.lock().unwrap()(id.unwrap_or(call))
    }
}

impl Manager for Probe {
    type Resource = Thing;
    type Error = Trouble;

    async fn create(&self, context: CreateContext) -> Result<Thing, Trouble> {
        let alive = Alive::new(&self.0);
        self.call(0, &self.0.create, None).run("create").await?;
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        if !self.0.ids.lock().unwrap().insert(context.id) {
            self.0.breach(format!("resource {} was created twice", context.id));
        }
        Ok(Thing { id: context.id, alive, is_closed: false, dirty: false, held: AtomicBool::new(false) })
    }

    async fn check(&self, thing: &mut Thing, _: Context) -> Result<(), Trouble> {
        self.call(1, &self.0.check, Some(thing.id)).run("check").await
    }

    async fn reset(&self, thing: &mut Thing, _: Context) -> Result<(), Trouble> {
        self.call(2, &self.0.reset, Some(thing.id)).run("reset").await?;
        thing.end();
        Ok(())
    }

    async fn close(&self, mut thing: Thing, context: Context) -> Result<(), Trouble> {
        self.0.whys.lock().unwrap().push((thing.id, context.why));
        let step = self.call(3, &self.0.close, Some(thing.id));
        step.run("close").await?;
        thing.is_closed = true;
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn assess(&self, _: &mut Thing, end: LeaseEnd<'_>) -> Next {
        // Apart, so that a panic finds the lock released.
        let assess = Arc::clone(&self.0.assess.lock().unwrap());
        assess(end)
    }

    /// What was left in the middle of a use is of no more use, though its holder's body completed.
    fn is_broken(&self, thing: &Thing) -> bool {
        thing.dirty
    }

    fn is_permanent(&self, error: &Trouble) -> bool {
        error.permanent
    }
}

/// Takes as many as may be alive, all at once, and gives them back: no permit was lost.
#[track_caller]
pub(crate) fn assert_full_capacity(pool: &Pool<Probe>, capacity: usize) -> impl Future<Output = ()> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        let mut leases = Vec::new();
        for number in 0..capacity {
            match pool.get().timeout(Duration::from_secs(60)).await {
                Ok(lease) => leases.push(lease),
                Err(error) => panic!("{caller}: lease {number} of {capacity}: {error:?}"),
            }
        }
        assert!(pool.try_get().is_none(), "{caller}: more than {capacity} can be taken");
        for mut lease in leases {
            lease.touch();
            lease.complete();
        }
    }
}

/// Lets every other task run until none can go on at this moment, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
