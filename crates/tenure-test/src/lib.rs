//! Proof that whatever is entered is exited: for the laws of [`tenure`], and for your own code.
//!
//! - [`cancel_everywhere`] runs a future again and again and drops it at its 0th, 1st, 2nd … suspension, in four
//!   ways, on both flavours of the runtime, until it completes.
//! - [`fail_everywhere`] lets each of its steps fail, then panic; [`Proof`] has the options, pairs of faults and
//!   faults with cancellation among them.
//! - [`laws::resource`] is the suite to run on your own resource.
//! - [`Recorder`] makes resources that write down what is done to them, and [`Trace`] has assertions that read
//!   like the laws.
//! - [`Sequencer`], [`suspend`], [`hang`], [`paused`] and [`both_flavours`] replace every sleep in a test.
//!
//! # A leak, and how it is told
//! The function below exits on every path that one sees, and leaks on the one that one does not:
//!
//! ```
//! use tenure::{AsyncExit, Outcome};
//! use tenure_test::{Fault, Recorder, Violation, try_cancel_everywhere};
//!
//! async fn forgetful(recorder: Recorder) -> Result<(), Fault> {
//!     let db = recorder.resource("db").await?;
//!     let queried = recorder.step("query").await;
//!     db.exit(Outcome::Completed).await?;
//!     queried
//! }
//!
//! let leak = try_cancel_everywhere(forgetful).unwrap_err();
//! assert_eq!(leak.suspension(), Some(2));
//! assert!(matches!(leak.violations(), [Violation::NeverExited(_)]));
//! ```
//!
//! Printed, the leak says what was done, in which step and at which line the future stood, what was broken, and
//! all that happened:
//!
//! ```text
//! dropped at suspension 2, on current_thread
//!   in "query" at src/lib.rs:8:27
//!   awaiting at src/lib.rs:8:36 in bank::forgetful
//! - "db" (entered at src/lib.rs:7:23) was never exited
//! trace:
//!    0  entering db
//!    1  enter db
//!    2  cancel at suspension 2
//!    3  drop db
//! ```
//!
//! The line after `in` comes from a step's label; the one after `awaiting at` from the stack, at the moment the
//! future left its waker, so that it is there for code without labels too. It needs debug information, `debug = "limited"`
//! at least: line tables alone do not name the crate of a frame.
//!
//! # What is checked after each run
//! 1. Everything entered was exited, exactly once, to its end.
//! 2. Inner exits ended before outer ones began ([`Proof::unordered`] turns this off).
//! 3. Nothing is open in the hub's registry, and it lost nothing, after a drain.
//! 4. What [`Proof::check`] says.
//!
//! # What makes a proof fail, other than a leak
//! A proof that has tried too little does not pass:
//!
//! - A run to which nothing was done returns an error ([`ProofOutput`], [`Proof::allow_errors`]).
//! - The future could be dropped at fewer suspensions than [`Proof::min_suspensions`], or had fewer fault points than
//!   [`Proof::min_points`]: one, by default.
//! - The check fails on a run that was not cut, or does not end ([`Proof::check_timeout`]).
//! - The set-up, the future or the drain does not end within its limit.
//!
//! # Code that others wrote
//! Drivers, pools and files wait for the world outside of the runtime. A proof of them needs a real clock, a set-up that
//! is not cut, and a check that gives the world time:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tempfile::TempDir;
//! use tenure_test::Proof;
//!
//! /// Dropped between the two, it leaves the draft behind.
//! async fn save(folder: Arc<TempDir>) -> std::io::Result<()> {
//!     let draft = folder.path().join("draft");
//!     tokio::fs::write(&draft, "the text").await?;
//!     tokio::fs::rename(&draft, folder.path().join("final")).await
//! }
//!
//! let proof = Proof::new()
//!     .real_clock()
//!     // What answers at once suspends all the same, on a busy machine too.
//!     .suspend_often()
//!     .min_suspensions(2)
//!     // Threads may still be at work when the run has ended.
//!     .check_within(Duration::from_secs(1))
//!     .check_for(Duration::from_millis(20))
//!     .set_up(async || TempDir::new().expect("there is room for a folder"))
//!     .check(|_run, folder: Arc<TempDir>| async move {
//!         if folder.path().join("draft").exists() { Err("a draft is left".to_owned()) } else { Ok(()) }
//!     });
//! let leak = proof.expect_leak(|_recorder, folder| save(folder));
//! assert!(leak.to_string().contains("a draft is left"));
//! ```
//!
//! [`PreparedProof::survey`] lists all leaks instead of the first, as a table or as JSON. [`Proof::library_frames`] names
//! the library's own lines. [`Recorder::run_id`] keeps runs that share a server apart.
//!
//! What a proof cannot see: a place that no run reaches, and an interleaving of threads that did not happen.
//! [`Proof::repeat`] tries each place more often; the [`Report`] says what was tried.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod budget;
mod check;
mod countdown;
mod enumeration;
mod event;
mod everywhere;
mod fault;
mod forms;
pub mod laws;
mod leak;
mod limited;
mod output;
mod plan;
mod prepared;
mod proof;
mod recorder;
mod recovering;
mod registry;
mod report;
mod resource;
mod run;
mod runtime;
mod sequencer;
mod set_up;
mod settings;
mod site;
#[expect(unsafe_code, reason = "a waker that notices its clones; the one module that needs it")]
mod spy;
mod survey;
mod trace;
mod verify;

pub use countdown::CancelBy;
pub use event::{Event, EventKind, Seen};
pub use everywhere::{cancel_everywhere, fail_everywhere, try_cancel_everywhere, try_fail_everywhere};
pub use fault::{Fault, FaultKind, panic_quietly};
pub use leak::Leak;
pub use output::ProofOutput;
pub use prepared::PreparedProof;
pub use proof::Proof;
pub use recorder::Recorder;
pub use recovering::{Recovering, RecoveringResource};
pub use report::Report;
pub use resource::{Act, Entering, Recorded, Resource};
pub use run::Run;
pub use runtime::{Flavour, both_flavours, paused};
pub use sequencer::{Sequencer, Turn};
pub use site::{At, Hang, Suspend, hang, suspend};
pub use survey::{Finding, Survey};
pub use trace::Trace;
pub use verify::{Violation, Who};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
