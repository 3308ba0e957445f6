//! The socket of a connection, of which hyper has the reading and writing, and the server a view beside it.
//!
//! hyper looks at a socket while it reads from it. With bytes in its buffer that belong to a later request, or with a body
//! that its handler does not read, it looks away, for as long as the handler runs. The view sees the end of the client
//! meanwhile: the system tells of it whatever waits to be read. It does not where the client has more to send than the
//! system takes in, for its end queues behind; then what waits says so.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::{SockRef, Socket as AnySocket};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

use super::conversation::Conversation;

/// So many bytes in several pieces are copied and sent as one, which takes the system less time than a second piece: head
/// and body of a response of 125 bytes in 1.67 µs, in 1.77 µs as two pieces (loopback, 2026-11-28).
const SMALL: usize = 1024;

thread_local! {
    /// Where the pieces are put together. Kept, for it would have to be cleared for each write otherwise.
    static TOGETHER: RefCell<[u8; SMALL]> = const { RefCell::new([0; SMALL]) };
}

/// More than this waits to be read only if the client may have more to send than is let in.
const WINDOW: usize = 32 * 1024;

/// The side of the server.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

#[derive(Debug)]
enum Reader {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
}

macro_rules! each {
    ($socket:expr, $half:ident => $then:expr) => {
        match $socket {
            Socket::Tcp($half) => $then,
            #[cfg(unix)]
            Socket::Unix($half) => $then,
        }
    };
}

impl Socket {
    /// Waits until the client has closed the connection, or only its side of it, or has reset it.
    ///
    /// With `half_close`, closing its side only is no end.
    pub(super) async fn client_gone(&self, half_close: bool) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // «Priority» is ready for the end as well, and for nothing else, since nobody asked the system for more.
            let interest = if half_close { Interest::ERROR } else { Interest::PRIORITY };
            // An error says that the runtime shuts down.
            let _ = each!(self, half => half.ready(interest).await);
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        loop {
            // Nothing is ready for the end alone: it is looked for.
            const INTERVAL: std::time::Duration = std::time::Duration::from_millis(250);
            let ready = each!(self, half => {
                tokio::select! {
                    biased;
                    ready = half.ready(Interest::READABLE | Interest::WRITABLE | Interest::ERROR) => ready,
                    () = std::future::ready(()) => Ok(tokio::io::Ready::EMPTY),
                }
            });
            match ready {
                Ok(ready) if ready.is_error() || (ready.is_read_closed() && !half_close) => return,
                Ok(_) => tokio::time::sleep(INTERVAL).await,
                Err(_) => return,
            }
        }
    }

    /// Whether anything waits to be read.
    pub(super) fn has_unread(&self) -> bool {
        self.unread_to(&mut [MaybeUninit::uninit(); 1]) > 0
    }

    /// Whether so much waits to be read that the client's end may be behind it, unseen.
    pub(super) fn may_hide_the_end(&self) -> bool {
        // The other end of a unix socket is seen in any case.
        matches!(self, Self::Tcp(_)) && self.unread_to(&mut vec![MaybeUninit::uninit(); WINDOW]) == WINDOW
    }

    fn unread_to(&self, buffer: &mut [MaybeUninit<u8>]) -> usize {
        self.with_socket(|socket| socket.peek(buffer)).unwrap_or(0)
    }

    /// Ends both directions. Whoever reads is told that this is the end, whoever writes gets an error.
    pub(super) fn close(&self) {
        // It may be closed already.
        let _ = self.with_socket(|socket| socket.shutdown(std::net::Shutdown::Both));
    }

    fn with_socket<T>(&self, then: impl FnOnce(&AnySocket) -> T) -> T {
        match self {
            Self::Tcp(half) => then(&SockRef::from(<tcp::OwnedWriteHalf as AsRef<TcpStream>>::as_ref(half))),
            #[cfg(unix)]
            Self::Unix(half) => then(&SockRef::from(<unix::OwnedWriteHalf as AsRef<UnixStream>>::as_ref(half))),
        }
    }

    fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        each!(self, half => half.try_write(buffer))
    }

    fn try_write_vectored(&self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
        each!(self, half => half.try_write_vectored(buffers))
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, half => half.as_ref().poll_write_ready(context))
    }
}

/// The side of hyper: the connection's stream, which notes how it goes.
#[derive(Debug)]
pub(super) struct Stream {
    reader: Reader,
    socket: Arc<Socket>,
    conversation: Arc<Conversation>,
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream, conversation: &Arc<Conversation>) -> Self {
        let (reader, writer) = stream.into_split();
        Self::new(Reader::Tcp(reader), Socket::Tcp(writer), conversation)
    }

    #[cfg(unix)]
    pub(super) fn unix(stream: UnixStream, conversation: &Arc<Conversation>) -> Self {
        let (reader, writer) = stream.into_split();
        Self::new(Reader::Unix(reader), Socket::Unix(writer), conversation)
    }

    fn new(reader: Reader, socket: Socket, conversation: &Arc<Conversation>) -> Self {
        Self { reader, socket: Arc::new(socket), conversation: Arc::clone(conversation) }
    }

    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.socket.poll_write_ready(context);
                    if ready.is_pending() {
                        self.conversation.progress.wrote(false);
                    }
                    ready!(ready)?;
                }
                written => {
                    self.conversation.progress.wrote(true);
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conversation.progress.closed();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.reader {
            Reader::Tcp(reader) => Pin::new(reader).poll_read(context, buffer),
            #[cfg(unix)]
            Reader::Unix(reader) => Pin::new(reader).poll_read(context, buffer),
        };
        self.conversation.progress.read(polled.is_pending(), &buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |socket| socket.try_write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |socket| {
            if let [one] = buffers {
                return socket.try_write(one);
            }
            let sent = TOGETHER.try_with(|room| {
                let mut room = room.try_borrow_mut().ok()?;
                as_one(buffers, &mut room).map(|one| socket.try_write(one))
            });
            sent.ok().flatten().unwrap_or_else(|| socket.try_write_vectored(buffers))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets have nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.socket.with_socket(|socket| socket.shutdown(std::net::Shutdown::Write));
        // Not connected: the client was faster.
        Poll::Ready(shut.or_else(|error| match error.kind() {
            io::ErrorKind::NotConnected => Ok(()),
            _ => Err(error),
        }))
    }
}

/// The buffers as one, if they have room there.
fn as_one<'a>(buffers: &[io::IoSlice<'_>], room: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut length = 0;
    for buffer in buffers {
        let end = length + buffer.len();
        room.get_mut(length..end)?.copy_from_slice(buffer);
        length = end;
    }
    Some(&room[..length])
}
