//! Ten proofs on an idle machine, and ten on a busy one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use tenure_test::Leak;

const PROOFS: usize = 10;
/// As many as the smallest machine that runs the tests has cores.
const BUSY_THREADS: usize = 2;

/// Threads that compute until this is dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn begin() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let compute = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..BUSY_THREADS).map(|_| thread::spawn(compute(Arc::clone(&stop)))).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Runs the proof on an idle machine and on a busy one.
pub(crate) fn idle_and_busy(prove: impl Fn()) {
    prove();
    let _busy = Busy::begin();
    prove();
}

/// Ten proofs on an idle machine and ten on a busy one find a leak, at one of these awaits.
#[track_caller]
pub(crate) fn found_in_each_of_ten(awaits: &[&str], find: impl Fn() -> Box<Leak>) {
    idle_and_busy(|| {
        for _ in 0..PROOFS {
            let leak = find();
            let place = leak.cut_await().unwrap_or_default().to_owned();
            assert!(awaits.iter().any(|known| place.contains(known)), "at {place}: {leak}");
        }
    });
}

/// The place of a line of the file that ends in a comment of this text.
pub(crate) fn place(file: &str, source: &str, mark: &str) -> String {
    let line = source.lines().position(|line| line.ends_with(&format!("// {mark}"))).unwrap() + 1;
    format!("{file}:{line}:")
}
