//! Where signals are heard: handlers that stay for the life of the process, and the thread's side of them.
//!
//! # Invariants
//! 1. A handler that was installed is never taken back, and its receiver lives as long: in the one thread of `end`,
//!    which never ends.
//! 2. No signal is merged with another: each has a line of its own, on which each arrival is one byte. The byte on the
//!    line is there before the one that wakes the thread, since handlers run in the order they were installed in.

#[cfg(unix)]
pub(super) use unix::{Handlers, Listener};
#[cfg(windows)]
pub(super) use windows::{Handlers, Listener};

#[cfg(unix)]
mod unix {
    use std::io::{self, ErrorKind, Read};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::{Duration, Instant};

    use signal_hook::low_level::pipe;

    use crate::run::signal::Signal;

    /// How long the thread rests when the system refuses to let it wait: it must neither end nor spin.
    const REFUSED_PAUSE: Duration = Duration::from_millis(50);

    /// The side of the handlers.
    #[derive(Debug)]
    pub(in crate::run) struct Handlers {
        wake: UnixStream,
        /// Those of signals that have no handler yet.
        lines: [Option<UnixStream>; 4],
    }

    /// The side of the thread.
    #[derive(Debug)]
    pub(in crate::run) struct Listener {
        wake: UnixStream,
        lines: [UnixStream; 4],
    }

    impl Handlers {
        pub(in crate::run) fn new() -> io::Result<(Self, Listener)> {
            let (heard, wake) = UnixStream::pair()?;
            let (hangup, to_hangup) = UnixStream::pair()?;
            let (interrupt, to_interrupt) = UnixStream::pair()?;
            let (quit, to_quit) = UnixStream::pair()?;
            let (terminate, to_terminate) = UnixStream::pair()?;
            let listener = Listener { wake: heard, lines: [hangup, interrupt, quit, terminate] };
            for line in &listener.lines {
                line.set_nonblocking(true)?;
            }
            let lines = [to_hangup, to_interrupt, to_quit, to_terminate].map(Some);
            Ok((Self { wake, lines }, listener))
        }

        /// Hears this signal from now on, in the place of what the system would do at it.
        pub(in crate::run) fn install(&mut self, signal: Signal) -> io::Result<()> {
            let place = &mut self.lines[signal.index()];
            let Some(line) = place else { return Ok(()) };
            let (line, wake) = (line.try_clone()?, self.wake.try_clone()?);
            let number = i32::from(signal.number());
            pipe::register(number, line)?;
            pipe::register(number, wake)?;
            *place = None;
            Ok(())
        }
    }

    impl Listener {
        /// Waits for a signal, at most until `deadline`. It may return nothing before that.
        pub(in crate::run) fn next(&mut self, deadline: Option<Instant>) -> Option<Signal> {
            if let Some(signal) = self.arrived() {
                return Some(signal);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            let woken = self.wake.set_read_timeout(left).and_then(|()| self.wake.read(&mut [0; 64]));
            match woken {
                Ok(1..) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Ok(0) | Err(_) => thread::sleep(REFUSED_PAUSE),
            }
            self.arrived()
        }

        fn arrived(&mut self) -> Option<Signal> {
            Signal::ALL
                .into_iter()
                .find(|signal| matches!((&self.lines[signal.index()]).read(&mut [0]), Ok(1..)))
        }
    }
}

#[cfg(windows)]
mod windows {
    use std::io;
    use std::time::Instant;

    use tokio::runtime::{Builder, Runtime};
    use tokio::signal::windows::{CtrlC, ctrl_c};
    use tokio::time::timeout_at;

    use crate::run::signal::Signal;

    /// The side of the handlers: tokio's own.
    #[derive(Debug)]
    pub(in crate::run) struct Handlers;

    /// The side of the thread.
    #[derive(Debug)]
    pub(in crate::run) struct Listener {
        runtime: Runtime,
        interrupt: CtrlC,
    }

    impl Handlers {
        pub(in crate::run) fn new() -> io::Result<(Self, Listener)> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let interrupt = {
                let _inside = runtime.enter();
                ctrl_c()?
            };
            Ok((Self, Listener { runtime, interrupt }))
        }

        /// Ctrl-C is heard from the beginning; there is nothing else to hear.
        pub(in crate::run) fn install(&mut self, _: Signal) -> io::Result<()> {
            Ok(())
        }
    }

    impl Listener {
        /// Waits for a signal, at most until `deadline`. It may return nothing before that.
        pub(in crate::run) fn next(&mut self, deadline: Option<Instant>) -> Option<Signal> {
            let Self { runtime, interrupt } = self;
            let heard = runtime.block_on(async {
                match deadline {
                    Some(deadline) => timeout_at(deadline.into(), interrupt.recv()).await.ok().flatten(),
                    None => interrupt.recv().await,
                }
            });
            heard.map(|()| Signal::Interrupt)
        }
    }
}
