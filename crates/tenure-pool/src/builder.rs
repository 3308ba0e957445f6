//! How a pool is set up, and what can be changed while it runs.

use std::time::Duration;

use crate::error::BuildError;
use crate::event::{Event, Events};
use crate::manager::Manager;
use crate::pool::Pool;
use crate::settings::{Codel, Config, Order, Settings, Tuning, check_max_size, store};

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident, $setter:ident => $field:ident;)*) => {
        /// Time limits. `None` is no limit.
        impl<M: Manager> Builder<M> {
            $($(#[$doc])*
            pub fn $name(self, limit: impl Into<Option<Duration>>) -> Self {
                store(&self.tuning.$field, limit.into());
                self
            })*
        }

        /// Time limits, changed while the pool runs. `None` is no limit; what has begun keeps the old one.
        impl<M: Manager> Pool<M> {
            $(#[doc = concat!(
                "Changes [`", stringify!($name), "`](crate::Builder::", stringify!($name), ")."
            )]
            pub fn $setter(&self, limit: impl Into<Option<Duration>>) {
                store(&self.tuning().$field, limit.into());
            })*
        }
    };
}

limits! {
    /// How long a get may take, waiting and checking together. Default: 30 s.
    ///
    /// A check that has not ended by then goes on in the background, and its resource is for the next get.
    get_timeout, set_get_timeout => get;
    /// How long a create may take. Default: 10 s, a third of the default of
    /// [`get_timeout`](Self::get_timeout): a get outlives a create that hangs.
    create_timeout, set_create_timeout => create;
    /// How long a check may take. Default: 5 s.
    check_timeout, set_check_timeout => check;
    /// How long a reset may take. Default: 5 s.
    reset_timeout, set_reset_timeout => reset;
    /// How long a close may take; then the resource is dropped. Default: 5 s.
    close_timeout, set_close_timeout => close;
    /// How long a resource may live, less a jitter of up to 10 %. Default: 30 min.
    ///
    /// One that is lent when its time is up is closed when it comes back.
    max_lifetime, set_max_lifetime => lifetime;
    /// How long a resource may be idle, less a jitter of up to 10 %, as long as more than
    /// [`min_idle`](Self::min_idle) are. Default: 10 min.
    idle_timeout, set_idle_timeout => idle;
    /// After how long an idle resource is checked in the background, again and again. Default: never.
    keepalive, set_keepalive => keepalive;
    /// After how long a lease that is still out is reported as [`Overdue`](Event::Overdue). Default: never.
    leak_threshold, set_leak_threshold => leak;
    /// How long a closing pool waits for the leases that are out. Default: 30 s.
    drain_timeout, set_drain_timeout => drain;
}

/// Sets up a [`Pool`]. Made by [`Pool::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<M> {
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) tuning: Tuning,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self { manager, config: Config::default(), tuning: Tuning::new() }
    }

    /// Takes over all of these settings: those of a configuration, or of [another pool](Pool::settings).
    pub fn settings(self, settings: &Settings) -> Self {
        let Settings { min_idle, order, pooling, measure_all, fail_fast, codel, .. } = *settings;
        let (first, most) = settings.create_backoff;
        let mut builder = self
            .name(&*settings.name)
            .max_size(settings.max_size)
            .min_idle(min_idle)
            .order(order)
            .max_waiting(settings.max_waiting)
            .parallel_creates(settings.parallel_creates)
            .create_backoff(first, most)
            .fail_fast(fail_fast)
            .measure_all(measure_all)
            .get_timeout(settings.get_timeout)
            .create_timeout(settings.create_timeout)
            .check_timeout(settings.check_timeout)
            .reset_timeout(settings.reset_timeout)
            .close_timeout(settings.close_timeout)
            .max_lifetime(settings.max_lifetime)
            .idle_timeout(settings.idle_timeout)
            .keepalive(settings.keepalive)
            .check_after(settings.check_after)
            .leak_threshold(settings.leak_threshold)
            .drain_timeout(settings.drain_timeout);
        (builder.config.pooling, builder.config.codel) = (pooling, codel);
        builder
    }

    /// Sets the name of the pool in events and reports. Default: `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Sets how many resources may be alive, those being created and closed included. Default: 10.
    pub fn max_size(mut self, size: usize) -> Self {
        self.config.max_size = size;
        self
    }

    /// Sets how many resources are kept idle, as far as `max_size` allows: opened when the pool is entered,
    /// spared by the idle timeout, and made up for in the background. Default: 0.
    pub fn min_idle(mut self, size: usize) -> Self {
        self.config.min_idle = size;
        self
    }

    /// Sets which idle resource is lent next. Default: [`Order::Lifo`].
    pub fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Keeps no idle resources: each is created for one lease and closed after it. `max_size` still holds.
    /// It is the pool to put in a test or behind an external pool, with the same interface.
    pub fn without_pooling(mut self) -> Self {
        self.config.pooling = false;
        self
    }

    /// Sets how many gets may wait besides those for whom there is room, or a resource on its way; further ones fail
    /// with [`Saturated`](crate::GetErrorKind::Saturated) at once. Default: no limit.
    pub fn max_waiting(mut self, count: usize) -> Self {
        self.config.max_waiting = count;
        self
    }

    /// Sets how many creates may run at a time. Default: 4.
    pub fn parallel_creates(mut self, count: usize) -> Self {
        self.config.parallel_creates = count.max(1);
        self
    }

    /// Sets the pause after a failed create, and the most it is doubled to while further ones fail; each pause is
    /// varied by up to a fifth. While it lasts and until one succeeds, one create is tried at a time, for all
    /// who wait. Default: 10 ms to 5 s.
    pub fn create_backoff(mut self, first: Duration, most: Duration) -> Self {
        self.config.backoff = (first, most.max(first));
        self
    }

    /// Fails the gets that wait as soon as a create fails, with the error of the manager, unless something alive or
    /// under way could serve them. Until the pause of the [backoff](Self::create_backoff) is over, further gets fail at
    /// once. Default: no; gets wait within their time limit while creates are tried again.
    pub fn fail_fast(mut self, fails_fast: bool) -> Self {
        self.config.fail_fast = fails_fast;
        self
    }

    /// Drops gets from a queue that is too slow. Default: none are dropped.
    pub fn codel(mut self, codel: Codel) -> Self {
        self.config.codel = Some(codel);
        self
    }

    /// Sets where events go, besides to `tracing`. The function must be quick and must not block; it is called
    /// from the pool's tasks, and from gets that fail.
    pub fn on_event(mut self, sink: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.config.events = Events::new(sink);
        self
    }

    /// After how long an idle resource is checked before it is lent; zero checks every one, `None` none.
    /// Default: 500 ms.
    pub fn check_after(self, bound: impl Into<Option<Duration>>) -> Self {
        store(&self.tuning.check_after, bound.into());
        self
    }

    /// Measures every wait and every lease, instead of one in 16 and one in 64. Default: no. It costs two reads of the
    /// clock for each.
    pub fn measure_all(mut self, measures_all: bool) -> Self {
        self.config.measures_all = measures_all;
        self
    }

    /// Reports the pool's figures through the [`metrics`] facade under these names, and
    /// [measures](Self::measure_all) all it reports. Default: none are reported.
    ///
    /// Gauges are set while the pool is in use, every eighth of a second, and when it closes.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, names: crate::MetricNames) -> Self {
        self.config.metrics = Some(names);
        self.measure_all(true)
    }

    /// Builds the pool. Nothing is opened yet.
    ///
    /// # Errors
    /// If the sizes contradict each other.
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        let Config { max_size, min_idle, .. } = self.config;
        check_max_size(max_size)?;
        if min_idle > max_size {
            return Err(BuildError::MinIdle(min_idle));
        }
        Ok(Pool::from_builder(self))
    }
}
