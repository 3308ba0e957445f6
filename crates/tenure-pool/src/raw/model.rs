//! Every interleaving of get, return, hand-over, cancel and close, explored by loom; and some of them by the
//! threads of `std`, whose accesses miri checks.
//!
//! ```text
//! RUSTFLAGS="--cfg tenure_loom" cargo test -p tenure-pool --lib --release -- model
//! cargo +nightly miri test -p tenure-pool --lib raw
//! MIRIFLAGS=-Zmiri-tree-borrows cargo +nightly miri test -p tenure-pool --lib raw
//! ```
//!
//! The resource is a loom cell: two holders at once, or a use that the next holder does not see, is reported as
//! a race. At the end each model takes every slot apart and counts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[cfg(tenure_loom)]
use loom::{cell::UnsafeCell, future::block_on, thread};
#[cfg(not(tenure_loom))]
use std::thread;

#[cfg(not(tenure_loom))]
use self::plain::{UnsafeCell, block_on};
use super::{Claim, Class, Core, Entry, Served, Slow, Waiter};

#[path = "lives.rs"]
mod lives;

const ENTRY: Entry = Entry { class: Class::Normal, since: 0, deadline: 0, home: 0 };

type Resource = UnsafeCell<u32>;
type TestCore = Core<Resource, bool, ()>;
type TestClaim = Claim<Resource, bool, ()>;

/// A core with this many idle resources; its state is whether it is closed.
fn core(resources: usize) -> Arc<TestCore> {
    let core = Arc::new(Core::new(false, ()));
    let mut locked = core.lock();
    for _ in 0..resources {
        let mut claim = locked.reserve().unwrap();
        assert!(claim.fill(UnsafeCell::new(0)).is_none());
        locked.push_idle(claim);
    }
    drop(locked);
    core
}

/// A use: a race if anybody else has it.
fn touch(claim: &TestClaim) {
    // SAFETY: the very claim that is tested: loom reports a second access at the same time.
    claim.resource().unwrap().with_mut(|number| unsafe { *number += 1 });
}

fn release(claim: TestClaim) {
    let Err(claim) = claim.try_put_back() else {
        return;
    };
    let core = claim.arc();
    let mut locked = core.lock();
    if locked.state {
        vacate(locked, claim);
        return;
    }
    match locked.serve_first(claim, |_| true) {
        Ok(waker) => {
            drop(locked);
            waker.unwrap().wake();
        }
        Err(claim) => locked.push_idle(claim),
    }
}

fn vacate(mut locked: super::CoreGuard<'_, Resource, bool, ()>, mut claim: TestClaim) {
    assert!(claim.take().is_some(), "a resource ends once");
    locked.vacate(claim);
}

fn close(core: &Arc<TestCore>) {
    let mut locked = core.lock();
    locked.state = true;
    locked.set_slow(Slow::CLOSED);
    let wakers = locked.queue.fail_where(|_| Some(1));
    locked.settle();
    let idle = locked.pop_all_idle();
    for mut claim in idle {
        assert!(claim.take().is_some(), "a resource ends once");
        locked.vacate(claim);
    }
    drop(locked);
    for waker in wakers {
        waker.wake();
    }
}

/// Joins the queue or takes an idle one, as a get does.
fn ask(core: &Arc<TestCore>, waiter: Pin<&Waiter>, waker: &Waker) -> Poll<Option<TestClaim>> {
    if let Some(claim) = core.try_pop() {
        return Poll::Ready(Some(claim));
    }
    let mut locked = core.lock();
    loop {
        if locked.state {
            return Poll::Ready(None);
        }
        if locked.queue.is_empty()
            && let Some(claim) = locked.pop_idle()
        {
            return Poll::Ready(Some(claim));
        }
        if locked.is_slow(Slow::WAITERS) || locked.set_waiters_if_empty() {
            locked.enqueue(waiter, waker.clone(), ENTRY, false);
            return Poll::Pending;
        }
    }
}

fn look(core: &Arc<TestCore>, waiter: Pin<&Waiter>) -> Poll<Option<TestClaim>> {
    match waiter.look(core) {
        Served::Waiting => Poll::Pending,
        Served::Slot(claim) => Poll::Ready(Some(claim)),
        Served::Failed(_) => Poll::Ready(None),
    }
}

/// Gets, or `None` if the core is closed.
fn get(core: &Arc<TestCore>) -> Option<TestClaim> {
    let waiter = pin!(Waiter::new());
    let waiter = waiter.as_ref();
    let mut asked = false;
    block_on(poll_fn(|cx| {
        if asked {
            return look(core, waiter);
        }
        asked = true;
        ask(core, waiter, cx.waker())
    }))
}

/// Gets, but gives up after the first look.
fn get_and_cancel(core: &Arc<TestCore>) {
    let waiter = pin!(Waiter::new());
    let waiter = waiter.as_ref();
    let context = Context::from_waker(Waker::noop());
    let claim = match ask(core, waiter, context.waker()) {
        Poll::Ready(claim) => claim,
        Poll::Pending => match core.lock().cancel(waiter).0 {
            Served::Slot(claim) => Some(claim),
            Served::Waiting | Served::Failed(_) => None,
        },
    };
    if let Some(claim) = claim {
        touch(&claim);
        release(claim);
    }
}

/// Takes the core apart: as many uses as expected, nothing lost, nothing twice.
#[track_caller]
fn check(core: &Arc<TestCore>, resources: usize, uses: u32) {
    let mut locked = core.lock();
    assert!(locked.queue.is_empty(), "nobody waits at the end");
    let mut seen = 0;
    let idle = locked.pop_all_idle();
    assert_eq!(idle.len(), resources, "every slot is idle at the end");
    for mut claim in idle {
        // SAFETY: all other threads have ended.
        seen += claim.take().unwrap().with(|number| unsafe { *number });
        locked.vacate(claim);
    }
    drop(locked);
    assert_eq!(seen, uses);
    assert_eq!(Arc::strong_count(core), 1, "vacant slots own no count");
}

#[cfg(tenure_loom)]
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

#[cfg(not(tenure_loom))]
fn model(test: impl Fn() + Send + Sync + 'static) {
    let turns = if cfg!(miri) { 8 } else { 200 };
    for _ in 0..turns {
        test();
    }
}

/// What loom offers, without loom.
#[cfg(not(tenure_loom))]
mod plain {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(super) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    pub(super) fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

#[test]
fn model_gets_and_returns() {
    model(|| {
        let core = core(1);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let core = Arc::clone(&core);
                thread::spawn(move || {
                    let claim = get(&core).unwrap();
                    touch(&claim);
                    release(claim);
                })
            })
            .collect();
        let claim = get(&core).unwrap();
        touch(&claim);
        release(claim);
        for thread in threads {
            thread.join().unwrap();
        }
        check(&core, 1, 3);
    });
}

#[test]
fn model_the_stack_survives_changes_back_and_forth() {
    model(|| {
        let core = core(2);
        let other = {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                let (one, two) = (core.try_pop(), core.try_pop());
                let count = u32::from(one.is_some()) + u32::from(two.is_some());
                for claim in [one, two].into_iter().flatten() {
                    touch(&claim);
                    release(claim);
                }
                count
            })
        };
        let mut uses = 0;
        for _ in 0..2 {
            if let Some(claim) = core.try_pop() {
                touch(&claim);
                release(claim);
                uses += 1;
            }
        }
        uses += other.join().unwrap();
        check(&core, 2, uses);
    });
}

#[test]
fn model_a_cancel_loses_nothing() {
    model(|| {
        let core = core(1);
        let claim = core.try_pop().unwrap();
        let cancelled = {
            let core = Arc::clone(&core);
            thread::spawn(move || get_and_cancel(&core))
        };
        let waiting = {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                let claim = get(&core).unwrap();
                touch(&claim);
                release(claim);
            })
        };
        release(claim);
        cancelled.join().unwrap();
        waiting.join().unwrap();
        // Whoever cancelled used it or not; the uses are not fixed.
        let claim = core.try_pop().expect("the fast path is open again");
        release(claim);
        assert!(core.lock().queue.is_empty());
        close(&core);
        assert_eq!(Arc::strong_count(&core), 1);
    });
}

#[test]
fn model_a_close_meets_a_return_and_a_get() {
    model(|| {
        let core = core(1);
        let claim = core.try_pop().unwrap();
        let returning = thread::spawn(move || {
            touch(&claim);
            release(claim);
        });
        let getting = {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                if let Some(claim) = get(&core) {
                    touch(&claim);
                    release(claim);
                }
            })
        };
        close(&core);
        returning.join().unwrap();
        getting.join().unwrap();
        assert!(core.lock().queue.is_empty());
        assert!(core.lock().pop_idle().is_none(), "nothing is idle in a closed core");
        assert_eq!(Arc::strong_count(&core), 1, "every slot is vacant");
    });
}

#[test]
fn model_newcomers_do_not_pass() {
    model(|| {
        let core = core(1);
        let claim = core.try_pop().unwrap();
        // The first waiter is in the queue before anything else happens.
        let waiter = pin!(Waiter::new());
        let waiter = waiter.as_ref();
        assert!(ask(&core, waiter, Waker::noop()).is_pending());
        let newcomer = {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                let claim = core.try_pop();
                assert!(claim.is_none(), "a newcomer passed the queue");
            })
        };
        release(claim);
        newcomer.join().unwrap();
        let Poll::Ready(Some(claim)) = look(&core, waiter) else {
            panic!("the returned slot is for the first waiter")
        };
        touch(&claim);
        release(claim);
        check(&core, 1, 1);
    });
}
