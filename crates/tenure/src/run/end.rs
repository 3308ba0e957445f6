//! The owner of the end: one thread for the process, which hears every signal from the first run on.
//!
//! The thread does what no runtime can: it acts while the main thread blocks, computes, or is back from its run.
//!
//! - The first signal asks every run to stop, and starts their deadline.
//! - A second one ends the process at once; so does one that comes when no run is there to be asked.
//! - At the deadline the process ends as well, if it still lives.
//!
//! # Invariants
//! 1. The state is locked for moves of plain data alone: runs are woken, listed and dropped outside of the lock.
//! 2. The thread waits for nothing but signals and the deadline. What has to be said at the end is said by another
//!    thread, for which it waits [`LAST_WORDS_TIMEOUT`] and no longer.
//! 3. The process is ended without exit handlers, which could wait for the thread that ends it already.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio::task::coop::unconstrained;

use super::held::Outside;
use super::listener::{Handlers, Listener};
use super::signal::{Chosen, Signal};
use super::tell::{tell, tell_given_up};
use super::verdict::UNCLEAN_CODE;

/// How long the process waits for its last lines to be written.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// A signal that asked the process to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) signal: Signal,
    pub(super) at: Instant,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The main body runs.
    Body,
    /// The main body has ended, what it and others hold exits.
    Exits,
    /// All has exited, the runtime is shut down.
    Runtime,
}

/// A run that has begun and not ended.
#[derive(Debug)]
struct Active {
    chosen: Chosen,
    exit_timeout: Duration,
    runtime: Handle,
    outside: Outside,
    asked: SetOnce<Asked>,
    stage: AtomicU8,
    clean: AtomicBool,
}

#[derive(Debug)]
struct State {
    handlers: Option<Handlers>,
    runs: Vec<Arc<Active>>,
    asked: Option<Asked>,
    /// When the process ends at the latest; set by the first signal.
    deadline: Option<Instant>,
    /// Whether the last run ended well.
    clean: bool,
}

static STATE: Mutex<State> =
    Mutex::new(State { handlers: None, runs: Vec::new(), asked: None, deadline: None, clean: true });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears these signals from now on.
///
/// # Errors
/// If the system has no thread or no descriptor to spare.
pub(super) fn listen(chosen: Chosen) -> io::Result<()> {
    let mut state = state();
    let mut handlers = match state.handlers.take() {
        Some(handlers) => handlers,
        None => {
            let (handlers, listener) = Handlers::new()?;
            thread::Builder::new().name("tenure-signals".to_owned()).spawn(move || watch(listener))?;
            handlers
        }
    };
    let installed = chosen.signals().try_for_each(|signal| handlers.install(signal));
    state.handlers = Some(handlers);
    installed
}

/// A run that signals ask to stop, until this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    active: Arc<Active>,
}

impl Registration {
    /// # Errors
    /// As [`listen`].
    pub(super) fn new(chosen: Chosen, exit_timeout: Duration, runtime: Handle) -> io::Result<Self> {
        listen(chosen)?;
        let active = Arc::new(Active {
            chosen,
            exit_timeout,
            outside: Outside::of(&runtime),
            runtime,
            asked: SetOnce::new(),
            stage: AtomicU8::new(Stage::Body as u8),
            clean: AtomicBool::new(true),
        });
        let asked = {
            let mut state = state();
            if state.runs.is_empty() {
                // All other runs are over: this is a life of its own.
                state.asked = None;
                state.deadline = None;
            }
            state.runs.push(Arc::clone(&active));
            state.asked
        };
        if let Some(asked) = asked {
            active.ask(asked);
        }
        Ok(Self { active })
    }

    /// The signal by which this run was asked to stop.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.active.asked.get().copied()
    }

    /// Waits until a signal asks this run to stop. A body that uses up its task's budget does not keep it from that.
    pub(super) async fn wait_until_asked(&self) {
        unconstrained(self.active.asked.wait()).await;
    }

    pub(super) fn outside(&self) -> &Outside {
        &self.active.outside
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.active.runtime
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        // Relaxed: read for a message and a code; nothing is published by it. So is `clean`.
        self.active.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn set_clean(&self, clean: bool) {
        self.active.clean.store(clean, Ordering::Relaxed);
    }

    /// Says that the run is about to say how it ended: the deadline leaves it the time for that.
    pub(super) fn grant_last_words(&self) {
        let mut state = state();
        if let Some(deadline) = &mut state.deadline {
            *deadline = (*deadline).max(Instant::now() + LAST_WORDS_TIMEOUT);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = {
            let mut state = state();
            state.clean = self.active.clean.load(Ordering::Relaxed);
            let place = state.runs.iter().position(|run| Arc::ptr_eq(run, &self.active));
            place.map(|place| state.runs.swap_remove(place))
        };
        drop(removed);
    }
}

impl Active {
    fn ask(&self, asked: Asked) {
        // An error says that it was asked before. The waker is foreign code: what it panics with is not the end's.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.asked.set(asked))));
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            stage if stage == Stage::Body as u8 => Stage::Body,
            stage if stage == Stage::Exits as u8 => Stage::Exits,
            _ => Stage::Runtime,
        }
    }
}

/// Why the process is ended by force.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// A signal after the first one.
    Second(Signal),
    /// A signal when no run was there to be asked.
    Nobody(Signal),
    /// The deadline of the signal.
    Deadline(Asked),
}

/// What the thread does, until the process ends.
fn watch(mut listener: Listener) {
    loop {
        let deadline = state().deadline;
        if let Some(signal) = listener.next(deadline) {
            heard(signal);
        } else {
            let state = state();
            let late = state.deadline.is_some_and(|deadline| deadline <= Instant::now());
            if let (true, Some(asked)) = (late, state.asked) {
                end_process(Cause::Deadline(asked), state);
            }
        }
    }
}

fn heard(signal: Signal) {
    let mut state = state();
    if state.asked.is_some() {
        end_process(Cause::Second(signal), state);
    }
    if !state.runs.iter().any(|run| run.chosen.contains(signal)) {
        end_process(Cause::Nobody(signal), state);
    }
    let asked = Asked { signal, at: Instant::now() };
    state.asked = Some(asked);
    // No deadline, if the system's clock does not reach so far.
    let longest = state.runs.iter().map(|run| run.exit_timeout).max();
    state.deadline = longest.and_then(|longest| asked.at.checked_add(longest));
    let runs = state.runs.clone();
    drop(state);
    for run in runs {
        run.ask(asked);
    }
}

/// Ends the process at once, having said what is given up.
fn end_process(cause: Cause, state: MutexGuard<'_, State>) -> ! {
    let (runs, clean) = (state.runs.clone(), state.clean);
    drop(state);
    let (told, telling) = mpsc::channel();
    let last_words = move || {
        let code = last_words(cause, &runs, clean);
        // Nobody listens any more if it took too long.
        let _ = told.send(code);
    };
    let code = match thread::Builder::new().name("tenure-last-words".to_owned()).spawn(last_words) {
        Ok(_) => telling.recv_timeout(LAST_WORDS_TIMEOUT).unwrap_or(UNCLEAN_CODE),
        Err(error) => {
            tell(format_args!(
                "the process ends by force, exit code {UNCLEAN_CODE}: no thread to say more: {error}"
            ));
            UNCLEAN_CODE
        }
    };
    leave(code)
}

#[cfg(unix)]
fn leave(code: u8) -> ! {
    signal_hook::low_level::exit(code.into())
}

#[cfg(not(unix))]
fn leave(code: u8) -> ! {
    std::process::exit(code.into())
}

/// Says why the process ends, and what is given up; returns its exit code.
fn last_words(cause: Cause, runs: &[Arc<Active>], clean: bool) -> u8 {
    let held: Vec<_> = runs.iter().flat_map(|run| run.outside.held_on(&run.runtime)).collect();
    let bodies = runs.iter().filter(|run| run.stage() == Stage::Body).count();
    let well = if runs.is_empty() {
        clean
    } else {
        let well = |run: &Arc<Active>| run.stage() == Stage::Runtime && run.clean.load(Ordering::Relaxed);
        held.is_empty() && runs.iter().all(well)
    };
    let code = match cause {
        Cause::Second(signal) | Cause::Nobody(signal) if well => signal.code(),
        _ => UNCLEAN_CODE,
    };
    match cause {
        Cause::Second(signal) => {
            tell(format_args!("{signal}, the second signal, ends the process at once, exit code {code}"));
        }
        Cause::Nobody(signal) => {
            tell(format_args!(
                "{signal} ends the process at once, for nothing is there to be asked to stop: exit code {code}"
            ));
        }
        Cause::Deadline(Asked { signal, at }) => {
            let after = at.elapsed();
            tell(format_args!(
                "{after:.1?} after {signal} the process has not ended: it ends now, exit code {code}"
            ));
        }
    }
    if bodies > 0 {
        tell(format_args!("given up: the main body, which has not ended"));
    }
    tell_given_up(&held);
    code
}
