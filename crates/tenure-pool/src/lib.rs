//! A pool.
#![deny(unsafe_code)]

mod budget;
mod builder;
mod clock;
mod close;
mod codel;
mod create;
mod error;
mod event;
mod get;
mod guarded;
mod histogram;
mod keyed;
mod lease;
mod ledger;
mod loom;
mod manager;
mod pool;
#[expect(unsafe_code, reason = "the one module with unsafe; see its invariants")]
mod raw;
mod scope;
mod shared;
mod status;
mod upkeep;
mod work;

pub use crate::builder::{Builder, Codel, Order};
pub use crate::close::{CloseReport, PoolError};
pub use crate::error::{AddError, AddErrorKind, BuildError, GetError, GetErrorKind};
pub use crate::event::Event;
pub use crate::get::{Get, Priority};
pub use crate::histogram::Durations;
pub use crate::keyed::{KeyedBuilder, KeyedPool};
pub use crate::lease::Lease;
pub use crate::manager::{BoxError, Context, CreateContext, LeaseEnd, Manager, Next, Why};
pub use crate::pool::Pool;
pub use crate::status::{Counters, Histograms, Holder, Status};
