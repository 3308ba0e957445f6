//! What is asked of TCP.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long a peer whose system does not answer at all is taken to be there: 60 s.
///
/// A peer that ends, crashes or is killed says so at once, for its system closes what it had. This is for those whose
/// system or network is gone, so that nothing can be said any more.
pub const PEER_LOST_LIMIT_DEFAULT: Duration = Duration::from_secs(60);

/// How many signs of life may be missed.
const PROBES: u32 = 4;

/// Sets up a stream: what is written goes out at once, and a peer that is gone is noticed within `lost_limit`, whether
/// something is on its way to it or not. Where the system refuses one of these, the connection works without.
///
/// `wait_limit` is how long the peer may take nothing. Linux has one limit for both, the longer one then.
pub(crate) fn prepare(stream: &TcpStream, lost_limit: Duration, wait_limit: Duration) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    // Half the limit may pass in silence, the other half in asking. Systems count in seconds.
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time((lost_limit / 2).max(second));
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let keepalive = keepalive.with_interval((lost_limit / (2 * PROBES)).max(second)).with_retries(PROBES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // Nobody is asked as long as something is on its way: then this is the limit. It also ends the asking, and what has to
    // wait because the peer is there and takes nothing.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(lost_limit.max(wait_limit)));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = wait_limit;
}
