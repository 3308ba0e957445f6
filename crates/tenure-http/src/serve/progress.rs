//! What is known of a connection before hyper knows which version it speaks.
//!
//! hyper's time limit for heads begins when the version is known, which takes up to 24 bytes. A client that sends
//! fewer would be waited for without a limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// As many bytes as decide between the versions: the preface of HTTP/2.
const DECISIVE_BYTES: u64 = 24;

/// How far a connection has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    // Relaxed: both are only looked at, by the task that sets them or by one that is late anyway.
    read: AtomicU64,
    requested: AtomicBool,
}

impl Progress {
    /// Notes that a request's head was read.
    pub(super) fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether there is a limit of hyper's on how long the connection may stay as it is.
    pub(super) fn is_begun(&self) -> bool {
        self.requested.load(Ordering::Relaxed) || self.read.load(Ordering::Relaxed) >= DECISIVE_BYTES
    }
}

/// A stream that counts what is read.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) stream: TcpStream,
    pub(super) progress: Arc<Progress>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.progress.read.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
