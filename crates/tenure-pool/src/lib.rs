//! A pool of resources that is fair, fast, and closes everything it opened.
//!
//! ```
//! use tenure::with;
//! use tenure_pool::{Context, CreateContext, Manager, Pool, PoolError};
//! # struct Connection { pending: bool }
//! # impl Connection {
//! #     async fn open(_: &str) -> std::io::Result<Self> { Ok(Self { pending: false }) }
//! #     async fn rollback(&mut self) -> std::io::Result<()> { self.pending = false; Ok(()) }
//! #     async fn ping(&mut self) -> std::io::Result<()> { Ok(()) }
//! #     async fn query(&mut self) -> std::io::Result<u32> { Ok(42) }
//! #     async fn shut_down(self) -> std::io::Result<()> { Ok(()) }
//! # }
//!
//! struct Database { address: String }
//!
//! impl Manager for Database {
//!     type Resource = Connection;
//!     type Error = std::io::Error;
//!
//!     async fn create(&self, _: CreateContext) -> std::io::Result<Connection> {
//!         Connection::open(&self.address).await
//!     }
//!     async fn reset(&self, connection: &mut Connection, _: Context) -> std::io::Result<()> {
//!         connection.rollback().await
//!     }
//!     async fn check(&self, connection: &mut Connection, _: Context) -> std::io::Result<()> {
//!         connection.ping().await
//!     }
//!     async fn close(&self, connection: Connection, _: Context) -> std::io::Result<()> {
//!         connection.shut_down().await
//!     }
//! }
//!
//! # #[derive(Debug)] struct Oops;
//! # impl From<PoolError> for Oops { fn from(_: PoolError) -> Self { Self } }
//! # impl From<tenure_pool::GetError> for Oops { fn from(_: tenure_pool::GetError) -> Self { Self } }
//! # impl From<std::io::Error> for Oops { fn from(_: std::io::Error) -> Self { Self } }
//! # impl From<tenure_pool::BuildError> for Oops { fn from(_: tenure_pool::BuildError) -> Self { Self } }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Oops> {
//! let database = Database { address: "localhost:5432".to_owned() };
//! let pool = Pool::builder(database).max_size(8).min_idle(2).build()?;
//! let answer = with(pool, async |pool| {
//!     with(pool.get(), async |connection| Ok::<_, Oops>(connection.query().await?)).await
//! })
//! .await?;
//! assert_eq!(answer, 42);
//! # Ok(()) }
//! ```
//!
//! Entering the pool opened two connections, side by side. Leaving it waited for what was lent, and closed every
//! connection, with `shut_down`, side by side.
//!
//! # What it guarantees
//! Each of these is a law with a test of that name.
//!
//! - Never more than `max_size` alive, those being created and closed included.
//! - A resource is with one holder at a time.
//! - A resource is lent on the runtime it was made on, and nowhere else. A runtime that ends, or is not driven, takes
//!   neither the waiters nor the room of others along: one static pool serves a runtime for each test.
//! - Time limits hold for any manager, and what is stuck holds nobody up.
//! - Everything that was opened is closed, once. What cannot be closed, because the runtime is gone, is dropped, counted,
//!   and told.
//! - No permit is lost: after any storm of cancels, panics, time limits and resizes, all can be taken.
//! - First come, first served, among the gets of one runtime. No newcomer passes those who wait.
//! - **No dirty resource reaches a user.** What was not used to its end, because its holder failed, panicked, was
//!   cancelled, or merely dropped it, is reset first, or closed; the [manager](Manager::assess) decides. What was used to
//!   its end is lent again as it is, unless the manager [asks for a check](Manager::assess_completed) first: it is asked
//!   on every path on which a use ends, and of what is [added](Pool::add).
//! - [`close`](Pool::close) ends within its deadline, and names who still holds on.
//!
//! # What happens when
//!
//! | something happens | what the pool does |
//! |---|---|
//! | a get is cancelled while it waits | it leaves the queue; what it was handed goes to the next |
//! | … while something is created for it | the create goes on, and is for the next |
//! | … while a resource is checked for it | the check goes on |
//! | a body completes | the resource is lent again at once, or [checked in the background](Manager::assess_completed) before anybody has it |
//! | a body fails, panics, is cancelled | the resource is reset in the background before anybody has it |
//! | a create fails | with [`fail_fast`](Builder::fail_fast), those who wait fail; else all wait together: one attempt at a time, after a pause that doubles; the last error is in the error of the time limit |
//! | a create fails [for good](Manager::is_permanent) | those who wait fail at once, if nothing alive could serve them |
//! | a check fails at a get or while idle | the resource is closed; the others are checked at once, side by side |
//! | a check fails after a use | the resource is closed; what its user has left tells nothing of the others |
//! | too many wait | the next one is turned away at once ([`Saturated`](GetErrorKind::Saturated)) |
//! | the pool closes | those who wait fail; creates that hang are dropped; bodies of [`scope`](Pool::scope) are cancelled when the drain is over |
//! | a manager panics or hangs | it counts as a failure; no permit is lost. What has hung for a second is no supply any more: another create is started, if there is room |
//! | a runtime dies | what was under way there is dropped and counted; what is idle is checked before another runtime takes it over; gets on other runtimes go on |
//! | a get finds only what belongs to another runtime | if there is room, one is created here; else an idle one of the other is closed for it |
//!
//! # Which way to hold a resource
//! - [`with`](tenure::with)`(pool.get(), async |resource| …)` is the rule: the pool is told the outcome.
//! - [`scope`](Pool::scope) is the same, and the pool can take the resource back when it closes, and tells a body that
//!   waits for itself so.
//! - A bare [`Lease`]: call [`complete`](Lease::complete) when the use is over. One that is just dropped may have been
//!   cancelled, and is reset, unless [`Manager::assess`] says that a drop does no harm.
//!
//! # What it costs
//! A get and return are one compare-and-swap each, without a lock, a timer, a clock read or an allocation. A get that
//! waits is 136 bytes. The figures, beside those of other pools, are in `BENCHMARKS.md`; the reasons in `DESIGN.md`.
//!
//! # What it cannot promise
//! That a resource is closed in an orderly way after its runtime has gone; that code which leaks a lease
//! (`mem::forget`) gives it back; anything after `panic = "abort"` or the end of the process.
//!
//! # Features
//! - `tracing` (default): events are also sent to `tracing`, trouble as warnings, the rest at debug level.
//! - `serde`: [`Settings`] are read from a configuration, and written to one.
//! - `metrics`: `Builder::metrics` reports the pool's figures through the `metrics` facade.
//!
//! To move from another pool, see [`migration`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

mod budget;
mod builder;
mod checkout;
mod clock;
mod close;
mod codel;
mod contexts;
mod create;
mod error;
mod event;
mod get;
mod guarded;
mod histogram;
mod home;
mod hooks;
mod idle;
mod job;
mod join;
mod keyed;
mod lease;
mod ledger;
mod loom;
mod manager;
mod many;
#[cfg(feature = "metrics")]
mod metrics;
pub mod migration;
mod place;
mod pool;
#[expect(unsafe_code, reason = "the one module with unsafe; see its invariants")]
mod raw;
mod scope;
mod settings;
mod shared;
mod status;
mod tend;
#[cfg(feature = "serde")]
mod text;
mod upkeep;
mod wait;
mod weak;
mod work;

pub use crate::builder::Builder;
pub use crate::close::{CloseReport, PoolError};
pub use crate::contexts::Contexts;
pub use crate::error::{AddError, AddErrorKind, BuildError, GetError, GetErrorKind};
pub use crate::event::Event;
pub use crate::get::{Get, Priority};
pub use crate::histogram::Durations;
pub use crate::hooks::Hooks;
pub use crate::keyed::{KeyedBuilder, KeyedPool};
pub use crate::lease::Lease;
pub use crate::manager::{BoxError, Context, CreateContext, LeaseEnd, Manager, Next, Why};
pub use crate::many::{GetMany, Leases};
#[cfg(feature = "metrics")]
pub use crate::metrics::MetricNames;
pub use crate::pool::Pool;
pub use crate::settings::{Codel, Order, Settings};
pub use crate::status::{Counters, Histograms, Holder, Status};
pub use crate::weak::WeakPool;

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
