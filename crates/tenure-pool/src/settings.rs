//! The settings of a pool: what is fixed when it is built, and what can be changed while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{NEVER, nanos};
use crate::error::BuildError;
use crate::event::Events;

/// The most resources a pool can have.
const MAX_SIZE_LIMIT: usize = 1_000_000;

/// Refuses a size that no pool can have.
pub(crate) fn check_max_size(max_size: usize) -> Result<(), BuildError> {
    if (1..=MAX_SIZE_LIMIT).contains(&max_size) { Ok(()) } else { Err(BuildError::MaxSize(max_size)) }
}

/// Which idle resource is lent next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Order {
    /// The one returned last. Few stay busy, and the rest can reach their idle timeout. The default, and
    /// the order of the fast path.
    #[default]
    Lifo,
    /// The one returned first: all are used in turn. A get and a return take a lock in this order.
    Fifo,
}

/// Drops gets from a queue that is too slow, after the CoDel algorithm.
///
/// If for an `interval` no get waited for less than `target`, the queue does not absorb a burst, it stands.
/// From then on those who have waited for more than twice the target fail with
/// [`Shed`](crate::GetErrorKind::Shed), until one waits for less than the target again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Codel {
    #[cfg_attr(feature = "serde", serde(with = "crate::text::duration"))]
    pub(crate) target: Duration,
    #[cfg_attr(feature = "serde", serde(with = "crate::text::duration"))]
    pub(crate) interval: Duration,
}

impl Codel {
    /// With this target and interval; 50 ms and 2 s are a good start.
    #[must_use]
    pub const fn new(target: Duration, interval: Duration) -> Self {
        Self { target, interval }
    }
}

/// What is fixed when the pool is built.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) order: Order,
    pub(crate) pooling: bool,
    pub(crate) max_waiting: usize,
    pub(crate) parallel_creates: usize,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) fail_fast: bool,
    pub(crate) measures_all: bool,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Option<crate::metrics::MetricNames>,
    pub(crate) codel: Option<Codel>,
    pub(crate) events: Events,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "pool".to_owned(),
            max_size: 10,
            min_idle: 0,
            order: Order::Lifo,
            pooling: true,
            max_waiting: usize::MAX,
            parallel_creates: 4,
            backoff: (Duration::from_millis(10), Duration::from_secs(5)),
            fail_fast: false,
            measures_all: false,
            #[cfg(feature = "metrics")]
            metrics: None,
            codel: None,
            events: Events::default(),
        }
    }
}

/// Durations that can be changed while the pool runs, in nanoseconds; [`NEVER`] is no limit.
#[derive(Debug)]
pub(crate) struct Tuning {
    pub(crate) get: AtomicU64,
    pub(crate) create: AtomicU64,
    pub(crate) check: AtomicU64,
    pub(crate) reset: AtomicU64,
    pub(crate) close: AtomicU64,
    pub(crate) lifetime: AtomicU64,
    pub(crate) idle: AtomicU64,
    pub(crate) keepalive: AtomicU64,
    pub(crate) check_after: AtomicU64,
    pub(crate) leak: AtomicU64,
    pub(crate) drain: AtomicU64,
}

impl Tuning {
    pub(crate) fn new() -> Self {
        let seconds = |seconds| AtomicU64::new(nanos(Duration::from_secs(seconds)));
        Self {
            get: seconds(30),
            create: seconds(10),
            check: seconds(5),
            reset: seconds(5),
            close: seconds(5),
            lifetime: seconds(30 * 60),
            idle: seconds(10 * 60),
            keepalive: AtomicU64::new(NEVER),
            check_after: AtomicU64::new(nanos(Duration::from_millis(500))),
            leak: AtomicU64::new(NEVER),
            drain: seconds(30),
        }
    }
}

pub(crate) fn load(limit: &AtomicU64) -> u64 {
    limit.load(Ordering::Relaxed)
}

pub(crate) fn store(limit: &AtomicU64, value: Option<Duration>) {
    limit.store(value.map_or(NEVER, nanos), Ordering::Relaxed);
}

/// The settings of a pool, as they are at one moment. Returned by [`Pool::settings`](crate::Pool::settings).
///
/// Each is what the setter of the same name on the [`Builder`](crate::Builder) or the pool has set; `None` is no limit.
/// The default is what a builder has set when nothing was said. [`Builder::settings`](crate::Builder::settings) takes
/// them over.
///
/// With the feature `serde` they can be read from a configuration. What is not named is left at its default, and a name
/// that is not known is an error. A duration is a text such as `"1m 30s"`, no limit is `"none"`:
///
/// ```
/// # #[cfg(feature = "serde")]
/// # fn main() -> Result<(), serde_json::Error> {
/// use std::time::Duration;
/// use tenure_pool::Settings;
///
/// let settings: Settings =
///     serde_json::from_str(r#"{ "max_size": 8, "get_timeout": "1m 30s", "max_lifetime": "none" }"#)?;
/// assert_eq!(settings.max_size, 8);
/// assert_eq!(settings.get_timeout, Some(Duration::from_secs(90)));
/// assert_eq!(settings.max_lifetime, None);
/// assert_eq!(settings.idle_timeout, Some(Duration::from_secs(600)));
/// # Ok(()) }
/// # #[cfg(not(feature = "serde"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Settings {
    /// The name of the pool.
    pub name: String,
    /// Number of resources that may be alive.
    pub max_size: usize,
    /// Number of resources that are kept idle.
    pub min_idle: usize,
    /// Which idle resource is lent next.
    pub order: Order,
    /// Number of gets that may wait beyond those for whom there is room.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::count"))]
    pub max_waiting: usize,
    /// Number of creates that may run at a time.
    pub parallel_creates: usize,
    /// The pause after a failed create, and the most it is doubled to.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::pair"))]
    pub create_backoff: (Duration, Duration),
    /// `true` if a failed create fails those who wait.
    pub fail_fast: bool,
    /// `true` if idle resources are kept; [`without_pooling`](crate::Builder::without_pooling) says no.
    pub pooling: bool,
    /// `true` if every wait and lease is measured.
    pub measure_all: bool,
    /// When gets are dropped from a queue that is too slow.
    pub codel: Option<Codel>,
    /// The limit of a get.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub get_timeout: Option<Duration>,
    /// The limit of a create.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub create_timeout: Option<Duration>,
    /// The limit of a check.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub check_timeout: Option<Duration>,
    /// The limit of a reset.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub reset_timeout: Option<Duration>,
    /// The limit of a close.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub close_timeout: Option<Duration>,
    /// How long a resource may live.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub max_lifetime: Option<Duration>,
    /// How long a resource may be idle.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub idle_timeout: Option<Duration>,
    /// After how long an idle resource is checked in the background.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub keepalive: Option<Duration>,
    /// After how long an idle resource is checked before it is lent.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub check_after: Option<Duration>,
    /// After how long a lease is reported as overdue.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub leak_threshold: Option<Duration>,
    /// How long a closing pool waits for leases.
    #[cfg_attr(feature = "serde", serde(with = "crate::text::limit"))]
    pub drain_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::read(&Config::default(), &Tuning::new(), Config::default().max_size)
    }
}

impl Settings {
    /// Reads the settings; the size is the present one.
    pub(crate) fn read(config: &Config, tuning: &Tuning, max_size: usize) -> Self {
        let limit = |limit: &AtomicU64| {
            let limit = load(limit);
            (limit != NEVER).then_some(Duration::from_nanos(limit))
        };
        Self {
            name: config.name.clone(),
            max_size,
            min_idle: config.min_idle,
            order: config.order,
            max_waiting: config.max_waiting,
            parallel_creates: config.parallel_creates,
            create_backoff: config.backoff,
            fail_fast: config.fail_fast,
            pooling: config.pooling,
            measure_all: config.measures_all,
            codel: config.codel,
            get_timeout: limit(&tuning.get),
            create_timeout: limit(&tuning.create),
            check_timeout: limit(&tuning.check),
            reset_timeout: limit(&tuning.reset),
            close_timeout: limit(&tuning.close),
            max_lifetime: limit(&tuning.lifetime),
            idle_timeout: limit(&tuning.idle),
            keepalive: limit(&tuning.keepalive),
            check_after: limit(&tuning.check_after),
            leak_threshold: limit(&tuning.leak),
            drain_timeout: limit(&tuning.drain),
        }
    }
}
