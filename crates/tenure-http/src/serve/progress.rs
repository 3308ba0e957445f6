//! How far a connection has come: what the server knows of it beside hyper, and until when it may stay as it is.
//!
//! hyper's own limit for heads is a timer that is set for each request, begins when the version is known, and is one with
//! the time that a kept connection may be idle. hyper has no limit for writes at all. Here the times are noted when they
//! begin, and one timer of the connection looks at them.
//!
//! # Invariants
//! 1. All is set by the task that polls the connection, or by the tasks of its streams, and looked at by the former. So
//!    the atomics are relaxed; who comes late is seen at the next look.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;
use super::watch::Watch;
use crate::stall::after;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const UNDECIDED: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// How many bytes of the preface have come, as long as the version is not known.
    preface: AtomicU8,
    version: AtomicU8,
    /// Whether hyper waits for what the client sends, and so would see it go.
    looking: AtomicBool,
    in_flight: AtomicU32,
    /// `true` if a request has come at all.
    requested: AtomicBool,
    /// Whether a head has begun to come since no request is in flight.
    in_head: AtomicBool,
    /// Since when there is no request in flight, or a head has begun, in nanoseconds from `began`.
    since: AtomicU64,
    is_since_known: AtomicBool,
    pub(super) watch: Watch,
    stream_closed: AtomicBool,
    closed: Notify,
}

/// What to do with a connection at its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has until then.
    GoOn(Option<Instant>),
    /// Its client has sent no request for long enough.
    Idle,
    /// Its client has not sent the head of a request.
    NoHead,
    /// Its client takes nothing of the response.
    Stalled,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            preface: AtomicU8::new(0),
            version: AtomicU8::new(UNDECIDED),
            looking: AtomicBool::new(true),
            in_flight: AtomicU32::new(0),
            requested: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            since: AtomicU64::new(0),
            is_since_known: AtomicBool::new(true),
            watch: Watch::new(),
            stream_closed: AtomicBool::new(false),
            closed: Notify::new(),
        }
    }

    /// Notes that hyper is about to be polled: it looks at the client if it has to wait for it in this poll. Whether it
    /// did so earlier says nothing: it may have given up on the client since.
    pub(super) fn before_poll(&self) {
        self.looking.store(false, Relaxed);
    }

    /// Notes a read: whether it has to wait, and what it gave.
    pub(super) fn read(&self, waits: bool, bytes: &[u8]) {
        self.looking.store(waits, Relaxed);
        if bytes.is_empty() {
            return;
        }
        if self.version.load(Relaxed) == UNDECIDED {
            self.decide(bytes);
        }
        if self.in_flight.load(Relaxed) == 0 && !self.in_head.load(Relaxed) {
            self.in_head.store(true, Relaxed);
            if self.requested.load(Relaxed) {
                // The time for the first head counts from the begin.
                self.is_since_known.store(false, Relaxed);
            }
        }
    }

    /// Notes since when there is no request in flight, or a head has begun, once hyper has done what it can: most heads are
    /// whole by then, and take no reading of the clock.
    pub(super) fn after_poll(&self) {
        if !self.is_since_known.load(Relaxed) && !self.is_in_flight() {
            self.since.store(self.now(), Relaxed);
            self.is_since_known.store(true, Relaxed);
        }
    }

    fn decide(&self, bytes: &[u8]) {
        let known = usize::from(self.preface.load(Relaxed));
        let next = &bytes[..bytes.len().min(PREFACE.len() - known)];
        if !PREFACE[known..].starts_with(next) {
            self.version.store(HTTP1, Relaxed);
        } else if known + next.len() == PREFACE.len() {
            self.version.store(HTTP2, Relaxed);
        } else {
            self.preface.store(u8::try_from(known + next.len()).unwrap_or(u8::MAX), Relaxed);
        }
    }

    /// Says which version it is, where that was agreed on before the first byte.
    #[cfg(feature = "tls")]
    pub(super) fn agreed(&self, http2: bool) {
        self.version.store(if http2 { HTTP2 } else { HTTP1 }, Relaxed);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.version.load(Relaxed) == HTTP2
    }

    /// Notes a write: taken, or it has to wait.
    pub(super) fn wrote(&self, taken: bool) {
        if taken {
            self.watch.go_on();
        } else {
            self.watch.wait();
        }
    }

    /// Notes that the head of a request was read.
    pub(super) fn begin_request(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requested.store(true, Relaxed);
        self.in_head.store(false, Relaxed);
    }

    /// Notes that its response has ended, or was dropped.
    pub(super) fn end_request(&self) {
        if self.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.is_since_known.store(false, Relaxed);
        }
    }

    /// Returns `true` if a request has come at all.
    pub(super) fn has_requested(&self) -> bool {
        self.requested.load(Relaxed)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// Whether a request is in flight, and its client could go unseen by hyper.
    pub(super) fn is_unseen(&self) -> bool {
        !self.looking.load(Relaxed) && self.is_in_flight()
    }

    /// Notes that the connection's stream was dropped: by hyper, or by whoever had it upgraded.
    pub(super) fn closed(&self) {
        self.stream_closed.store(true, Relaxed);
        self.closed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stream_closed.load(Relaxed)
    }

    /// Waits until the connection's stream is dropped.
    pub(super) async fn wait_closed(&self) {
        while !self.is_closed() {
            self.closed.notified().await;
        }
    }

    /// Whether there is no request, and none has begun to come, for so long.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let quiet = !self.is_in_flight() && !self.in_head.load(Relaxed);
        quiet.then(|| self.moment(self.since.load(Relaxed)))
    }

    /// Until when it may stay as it is.
    pub(super) fn verdict(&self, limits: &Limits, now: Instant) -> Verdict {
        let stalls = self.watch.waiting_since().map(|since| after(since, limits.write_timeout));
        if stalls.is_some_and(|end| end <= now) {
            return Verdict::Stalled;
        }
        if self.is_http2() || self.is_in_flight() {
            // hyper asks a connection of HTTP/2 for signs of life.
            return Verdict::GoOn(stalls);
        }
        let waits_for_head = self.in_head.load(Relaxed) || !self.requested.load(Relaxed);
        let (limit, verdict) = match waits_for_head {
            true => (limits.header_read_timeout, Verdict::NoHead),
            false => (limits.idle(), Verdict::Idle),
        };
        let end = after(self.moment(self.since.load(Relaxed)), limit);
        match end <= now {
            true => verdict,
            false => Verdict::GoOn(Some(stalls.map_or(end, |stalls| stalls.min(end)))),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn moment(&self, nanos: u64) -> Instant {
        self.began + std::time::Duration::from_nanos(nanos)
    }
}
