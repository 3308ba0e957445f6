//! Random operations against the laws, by a state machine whose failures shrink.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tenure_pool::{Get, GetErrorKind, Lease, Order, Pool};
use tokio::time::sleep;

use crate::basics::{ByHand, tokio_test_poll};
use crate::support::{Act, Op as Step, Probe, assert_full_capacity, settle};

#[derive(Clone, Copy, Debug)]
enum Op {
    Get,
    TryGet,
    CancelWaiter(usize),
    Complete(usize),
    Drop(usize),
    Invalidate(usize),
    Detach(usize),
    Add,
    Resize(usize),
    Pause,
    Resume,
    InvalidateAll,
    Advance(u64),
    Script(Target, Act),
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Create,
    Check,
    Reset,
    Close,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![4 => Just(Act::Succeed), 1 => Just(Act::Fail), 1 => Just(Act::Panic), 1 => Just(Act::Hang)]
}

fn op() -> impl Strategy<Value = Op> {
    let target =
        prop_oneof![Just(Target::Create), Just(Target::Check), Just(Target::Reset), Just(Target::Close)];
    prop_oneof![
        12 => Just(Op::Get),
        2 => Just(Op::TryGet),
        3 => any::<usize>().prop_map(Op::CancelWaiter),
        6 => any::<usize>().prop_map(Op::Complete),
        4 => any::<usize>().prop_map(Op::Drop),
        1 => any::<usize>().prop_map(Op::Invalidate),
        1 => any::<usize>().prop_map(Op::Detach),
        1 => Just(Op::Add),
        1 => (1..6_usize).prop_map(Op::Resize),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => Just(Op::InvalidateAll),
        3 => (1..2_000_u64).prop_map(Op::Advance),
        2 => (target, act()).prop_map(|(target, act)| Op::Script(target, act)),
    ]
}

/// The pool, and what is known of it from outside.
struct Machine {
    probe: Probe,
    pool: Pool<Probe>,
    /// Those who wait, in the order of asking.
    waiting: Vec<ByHand<Get<Pool<Probe>, Probe>>>,
    held: Vec<Lease<Probe>>,
    max_size: usize,
    max_size_ever: usize,
    paused: bool,
    checks: bool,
}

impl Machine {
    fn new(order: Order, check_after: Option<Duration>) -> Self {
        let probe = Probe::new();
        let second = Duration::from_secs(1);
        let builder = probe
            .pool()
            .max_size(3)
            .order(order)
            .check_after(check_after)
            .get_timeout(None)
            .create_timeout(second)
            .check_timeout(second)
            .reset_timeout(second)
            .close_timeout(second)
            .create_backoff(Duration::from_millis(10), Duration::from_millis(100));
        let pool = builder.build().unwrap();
        let (waiting, held) = (Vec::new(), Vec::new());
        Self {
            probe,
            pool,
            waiting,
            held,
            max_size: 3,
            max_size_ever: 3,
            paused: false,
            checks: check_after.is_some(),
        }
    }

    fn take_held(&mut self, which: usize) -> Option<Lease<Probe>> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which % self.held.len()))
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Get => self.waiting.push(tokio_test_poll(self.pool.get_owned())),
            Op::TryGet => self.try_get(),
            Op::CancelWaiter(which) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(which % self.waiting.len()));
            }
            Op::CancelWaiter(_) => {}
            Op::Complete(which) => {
                if let Some(mut lease) = self.take_held(which) {
                    lease.end();
                    lease.complete();
                }
            }
            // Dirty.
            Op::Drop(which) => drop(self.take_held(which)),
            Op::Invalidate(which) => {
                if let Some(lease) = self.take_held(which) {
                    lease.invalidate();
                }
            }
            Op::Detach(which) => {
                if let Some(lease) = self.take_held(which) {
                    // It leaves the pool, so it may not count against its size.
                    let thing = lease.detach();
                    self.max_size_ever += 1;
                    drop(thing);
                }
            }
            Op::Add => self.add(),
            Op::Resize(size) => {
                self.max_size = size;
                self.max_size_ever = self.max_size_ever.max(size);
                self.pool.resize(size).unwrap();
            }
            Op::Pause => {
                self.paused = true;
                self.pool.pause();
            }
            Op::Resume => {
                self.paused = false;
                self.pool.resume();
            }
            Op::InvalidateAll => self.pool.invalidate_all(),
            Op::Advance(millis) => sleep(Duration::from_millis(millis)).await,
            Op::Script(target, act) => self.script(target, act),
        }
        settle().await;
        self.serve();
        self.check();
    }

    fn script(&self, target: Target, act: Act) {
        let target = match target {
            Target::Create => Step::Create,
            Target::Check => Step::Check,
            Target::Reset => Step::Reset,
            Target::Close => Step::Close,
        };
        self.probe.always(target, 3, act);
    }

    fn try_get(&mut self) {
        // A get that checks what it was handed is in no queue.
        let queued = self.waiting.len().saturating_sub(self.pool.status().checking);
        let lease = self.pool.try_get();
        if let Some(mut lease) = lease {
            assert!(queued == 0 && !self.paused, "try_get passed the queue or the pause");
            lease.begin();
            self.held.push(lease);
        }
    }

    /// Moves a resource out of the pool and into it again.
    fn add(&mut self) {
        if let Some(mut lease) = self.take_held(0) {
            lease.end();
            self.max_size_ever += 1;
            if let Err(refused) = self.pool.add(lease.detach()) {
                assert_eq!(refused.kind, tenure_pool::AddErrorKind::Full);
            }
        }
    }

    /// Collects what was served: it must be those who asked first.
    fn serve(&mut self) {
        let mut left = Vec::new();
        let mut passed_over = false;
        for mut waiter in std::mem::take(&mut self.waiting) {
            match waiter.poll() {
                None => {
                    passed_over = true;
                    left.push(waiter);
                }
                Some(Ok(mut lease)) => {
                    // A get that checks what it was handed may be overtaken by one that need not.
                    assert!(!passed_over || self.checks, "a later one was served first");
                    lease.begin();
                    self.held.push(lease);
                }
                Some(Err(error)) => panic!("nobody waits with a limit: {error:?}"),
            }
        }
        self.waiting = left;
    }

    fn check(&self) {
        self.probe.assert_sound(self.max_size_ever);
        let status = self.pool.status();
        assert_eq!(status.in_use, self.held.len(), "{status}");
        assert_eq!(self.pool.holders().len(), self.held.len());
    }

    /// Heals everything and lets time pass: then whoever still waits does so because all are in use.
    async fn quiesce(&mut self) {
        for target in [Target::Create, Target::Check, Target::Reset, Target::Close] {
            self.script(target, Act::Succeed);
        }
        self.apply(Op::Resume).await;
        for _ in 0..40 {
            self.apply(Op::Advance(500)).await;
        }
        if !self.waiting.is_empty() {
            assert!(self.held.len() >= self.max_size, "somebody waits while there is room");
        }
        if self.held.len() < self.max_size {
            assert!(self.waiting.is_empty());
        }
    }

    /// Gives everything back; the full capacity can be taken, and a close leaves nothing.
    async fn finish(mut self) {
        self.quiesce().await;
        self.waiting.clear();
        self.held.clear();
        self.quiesce().await;
        assert_full_capacity(&self.pool, self.max_size).await;
        let report = self.pool.close().await;
        assert!(report.is_clean(), "{report}");
        let error = self.pool.get().await.unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Closed);
        let counters = self.pool.counters();
        assert_eq!(counters.opened, counters.closed);
        drop(self.pool);
        self.probe.assert_all_closed(self.max_size_ever);
    }
}

fn run(ops: Vec<Op>, order: Order, check_after: Option<Duration>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut machine = Machine::new(order, check_after);
        for op in ops {
            machine.apply(op).await;
        }
        machine.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        // More by `PROPTEST_CASES`.
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 40 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn laws_hold_for_random_operations(ops in vec(op(), 1..80)) {
        run(ops, Order::Lifo, None);
    }

    #[test]
    fn laws_hold_for_random_operations_with_checks_of_stale_ones(ops in vec(op(), 1..80)) {
        run(ops, Order::Lifo, Some(Duration::from_millis(500)));
    }

    #[test]
    fn laws_hold_for_random_operations_in_fifo_order_with_checks(ops in vec(op(), 1..80)) {
        run(ops, Order::Fifo, Some(Duration::ZERO));
    }
}
