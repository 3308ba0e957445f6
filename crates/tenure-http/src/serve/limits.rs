//! The limits of a server.

use std::time::Duration;

use crate::tcp::PEER_LOST_LIMIT_DEFAULT;

/// How long a client may take for the head of a request: 30 s.
pub const HEADER_READ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The most bytes of a request's head: 64 KiB.
pub const HEADER_BYTES_MAX_DEFAULT: u32 = 64 * 1024;

/// How long a client may send nothing of a request's body that is waited for: 30 s.
pub const BODY_READ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of a response that is ready: 60 s.
pub const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The most connections at a time: 10,000.
pub const MAX_CONNECTIONS_DEFAULT: u32 = 10_000;

/// How long requests in flight may take to finish when the server is left: 10 s. A third of what container platforms
/// grant between SIGTERM and SIGKILL, so that the exits behind the server have the rest.
pub const GRACE_LIMIT_DEFAULT: Duration = Duration::from_secs(10);

/// Longer than the 60 s for which load balancers keep idle connections, so that they close first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long the exits of requests that were cut off are awaited.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) header_read_timeout: Duration,
    /// `None`: the time for a head, if that was set.
    pub(super) idle_timeout: Option<Duration>,
    pub(super) body_read_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) peer_lost_limit: Duration,
    pub(super) header_bytes_max: u32,
    pub(super) max_connections: u32,
    pub(super) lame_duck: Duration,
    pub(super) grace_limit: Duration,
    pub(super) cut_timeout: Duration,
    pub(super) half_close: bool,
    #[cfg(feature = "connect-info")]
    pub(super) connect_info: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read_timeout: HEADER_READ_TIMEOUT_DEFAULT,
            idle_timeout: None,
            body_read_timeout: BODY_READ_TIMEOUT_DEFAULT,
            write_timeout: WRITE_TIMEOUT_DEFAULT,
            peer_lost_limit: PEER_LOST_LIMIT_DEFAULT,
            header_bytes_max: HEADER_BYTES_MAX_DEFAULT,
            max_connections: MAX_CONNECTIONS_DEFAULT,
            lame_duck: Duration::ZERO,
            grace_limit: GRACE_LIMIT_DEFAULT,
            cut_timeout: CUT_TIMEOUT,
            half_close: false,
            #[cfg(feature = "connect-info")]
            connect_info: false,
        }
    }
}

impl Limits {
    /// How long a kept connection may go without a request.
    pub(super) fn idle(&self) -> Duration {
        let of_head = self.header_read_timeout != HEADER_READ_TIMEOUT_DEFAULT;
        self.idle_timeout.unwrap_or(if of_head { self.header_read_timeout } else { IDLE_TIMEOUT })
    }

    /// The shortest of those that a connection's timer enforces.
    pub(super) fn shortest(&self) -> Duration {
        let shortest =
            self.header_read_timeout.min(self.idle()).min(self.write_timeout).min(self.peer_lost_limit);
        shortest.max(Duration::from_millis(1))
    }
}
