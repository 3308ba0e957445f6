//! The figures of a pool under the names of OpenTelemetry, through the `metrics` facade.
//!
//! # Invariants
//! 1. A recorder is code of the user: it is called without the lock, and its panics end here.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::guarded::catch;
use crate::manager::Manager;
use crate::shared::{Ext, Shared};

/// Under which names a pool [reports its figures](crate::Builder::metrics). Durations are in seconds.
///
/// | figure | kind | `Database` | `Pool` |
/// |---|---|---|---|
/// | resources that are idle or used | gauge, by state | `db.client.connection.count` | `tenure.pool.count` |
/// | most resources; most and least idle ones | gauges | `db.client.connection.max`, `….idle.max`, `….idle.min` | `tenure.pool.max`, … |
/// | gets that wait | gauge | `db.client.connection.pending_requests` | `tenure.pool.pending_requests` |
/// | gets that reached their limit | counter | `db.client.connection.timeouts` | `tenure.pool.timeouts` |
/// | creates, waits, uses | histograms | `db.client.connection.create_time`, `….wait_time`, `….use_time` | `tenure.pool.create_time`, … |
/// | leases that were overdue | counter | `tenure.pool.overdue` | `tenure.pool.overdue` |
///
/// Units and descriptions are given when the pool is built, to the recorder that is installed then.
///
/// The pool's name is the label `db.client.connection.pool.name` or `tenure.pool.name`; the state is
/// `db.client.connection.state` or `tenure.pool.state`. What is created, checked, reset or closed counts as used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricNames {
    /// Those of OpenTelemetry's semantic conventions for the connections of database clients.
    Database,
    /// The same shapes for pools of anything else.
    Pool,
}

macro_rules! names {
    ($($name:ident: $suffix:literal;)*) => {
        impl MetricNames {
            $(pub(crate) fn $name(self) -> &'static str {
                match self {
                    Self::Database => concat!("db.client.connection.", $suffix),
                    Self::Pool => concat!("tenure.pool.", $suffix),
                }
            })*
        }
    };
}

names! {
    amount: "count";
    max: "max";
    idle_max: "idle.max";
    idle_min: "idle.min";
    pending: "pending_requests";
    timeouts: "timeouts";
    create_time: "create_time";
    wait_time: "wait_time";
    use_time: "use_time";
    state: "state";
}

impl MetricNames {
    fn pool_name(self) -> &'static str {
        match self {
            Self::Database => "db.client.connection.pool.name",
            Self::Pool => "tenure.pool.name",
        }
    }
}

/// Tells the recorder what is reported under these names, and in which units.
pub(crate) fn describe(names: MetricNames) {
    catch(|| {
        describe_gauge!(names.amount(), Unit::Count, "Resources of the pool, by state");
        describe_gauge!(names.max(), Unit::Count, "The most resources that the pool may have");
        describe_gauge!(names.idle_max(), Unit::Count, "The most resources that may be idle");
        describe_gauge!(names.idle_min(), Unit::Count, "The resources that are kept idle at least");
        describe_gauge!(names.pending(), Unit::Count, "Gets that wait for a resource");
        describe_counter!(names.timeouts(), Unit::Count, "Gets that waited until their limit");
        describe_histogram!(names.create_time(), Unit::Seconds, "How long it took to create a resource");
        describe_histogram!(names.wait_time(), Unit::Seconds, "How long a get waited for a resource");
        describe_histogram!(names.use_time(), Unit::Seconds, "From the get of a resource to its return");
        describe_counter!("tenure.pool.overdue", Unit::Count, "Leases that were held for longer than expected");
    });
}

impl<M> Ext<M> {
    /// Records a duration in the histogram of this name.
    pub(crate) fn report(&self, name: impl FnOnce(MetricNames) -> &'static str, took: Duration) {
        if let Some(names) = self.config.metrics {
            let pool = self.config.name.clone();
            catch(|| histogram!(name(names), names.pool_name() => pool).record(took.as_secs_f64()));
        }
    }
}

/// Sets the gauges of a pool. The lock must not be held.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; there are a million resources at most")]
pub(crate) fn publish<M: Manager>(shared: &Arc<Shared<M>>) {
    let config = &shared.ext.config;
    let Some(names) = config.metrics else { return };
    let (status, counters) = (shared.status(), shared.counters());
    let pool = || config.name.clone();
    catch(|| {
        let used = (status.size - status.idle.min(status.size)) as f64;
        for (state, count) in [("idle", status.idle as f64), ("used", used)] {
            gauge!(names.amount(), names.pool_name() => pool(), names.state() => state).set(count);
        }
        // What is idle is kept until it is too old: as many as there may be.
        for name in [names.max(), names.idle_max()] {
            gauge!(name, names.pool_name() => pool()).set(status.max_size as f64);
        }
        gauge!(names.idle_min(), names.pool_name() => pool()).set(config.min_idle as f64);
        gauge!(names.pending(), names.pool_name() => pool()).set(status.waiting as f64);
        counter!(names.timeouts(), names.pool_name() => pool()).absolute(counters.timed_out);
        counter!("tenure.pool.overdue", names.pool_name() => pool()).absolute(counters.overdue);
    });
}
