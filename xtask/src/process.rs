//! One child at a time, in a process group of its own.
//!
//! # Invariants
//! 1. A group never outlives its [`Group`]: what is left of it is killed when the group is dropped, on
//!    every path, so a test that leaves a process behind does not leave it to the machine.
//! 2. A signal ends the group first with SIGTERM; SIGKILL follows after [`GRACE`] or a second signal.

use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::interrupt::Interrupt;

/// How long a group that was told to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// How often the child, the clock and the signals are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long to read on after the child has ended, for a pipe that something still holds open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sees a child at work.
pub(crate) trait Observer {
    /// A line that the child printed, on either stream, without its end.
    fn line(&mut self, line: &str);
    /// Time has passed.
    fn tick(&mut self) {}
}

/// Keeps what a short-lived program printed.
#[derive(Debug, Default)]
pub(crate) struct LastWords(pub(crate) Vec<String>);

impl Observer for LastWords {
    fn line(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

/// How a child ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Exited(ExitStatus),
    OutOfTime(Duration),
}

/// Runs a command to its end, both output streams in the order they were written, with no input.
///
/// # Errors
/// If it cannot be started, or a signal came.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    interrupt: &Interrupt,
    observer: &mut dyn Observer,
) -> Result<Ended, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = std::io::pipe().map_err(Error::io("make a pipe"))?;
    let second = writer.try_clone().map_err(Error::io("make a pipe"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(second);
    let group = Group::spawn(command).map_err(Error::io(format!("start {program}")))?;
    // The command keeps its ends of the pipe, which would hold it open for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    watch(group, &lines(reader), limit, interrupt, observer)
}

fn watch(
    mut group: Group,
    lines: &Receiver<String>,
    limit: Duration,
    interrupt: &Interrupt,
    observer: &mut dyn Observer,
) -> Result<Ended, Error> {
    let start = Instant::now();
    let mut stop: Option<(Stop, Instant)> = None;
    let status = loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => observer.line(&line),
            Err(RecvTimeoutError::Timeout) => {}
            // The child closed its streams and works on.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        observer.tick();
        if let Some(signal) = interrupt.take() {
            let patience = if stop.is_some() { Duration::ZERO } else { GRACE };
            group.signal("TERM");
            stop = Some((Stop::Signal(signal), Instant::now() + patience));
        } else if stop.is_none() && start.elapsed() > limit {
            group.signal("TERM");
            stop = Some((Stop::Limit, Instant::now() + GRACE));
        }
        if stop.as_ref().is_some_and(|(_, end)| Instant::now() >= *end) {
            group.signal("KILL");
        }
        let ended = group.child.try_wait();
        if let Some(status) = ended.map_err(Error::io("wait for a child"))? {
            break status;
        }
    };
    drop(group);
    let end = Instant::now() + LAST_WORDS;
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        observer.line(&line);
    }
    match stop {
        Some((Stop::Signal(signal), _)) => Err(Error::Interrupted { signal }),
        Some((Stop::Limit, _)) => Ok(Ended::OutOfTime(limit)),
        None => Ok(Ended::Exited(status)),
    }
}

/// Why a group was told to end.
enum Stop {
    Signal(i32),
    Limit,
}

/// A child and all that it started.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
}

impl Group {
    /// Starts the command as the leader of a new group.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to all of the group; one that is gone does not mind.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill` is the one way to signal a group without unsafe code or a
        // dependency for it.
        let script = format!("kill -s {name} -- -{}", self.child.id());
        let _gone_is_fine = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("KILL");
        let _already_reaped_is_fine = self.child.wait();
    }
}

/// The lines of a pipe, read by a thread that ends with it.
fn lines(pipe: PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Ended, Observer, run};
    use crate::interrupt::Interrupt;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Observer for Lines {
        fn line(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }

    const AMPLE: Duration = Duration::from_secs(60);

    fn sh(script: &str, limit: Duration) -> (Ended, Vec<String>) {
        let interrupt = Interrupt::listen().expect("signals can be listened for");
        let mut lines = Lines::default();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = run(&mut command, limit, &interrupt, &mut lines).expect("sh runs");
        (ended, lines.0)
    }

    #[test]
    fn both_streams_arrive_in_order() {
        let (ended, lines) = sh("echo one; echo two >&2; echo three; exit 3", AMPLE);
        assert!(matches!(ended, Ended::Exited(status) if status.code() == Some(3)));
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn what_a_child_left_behind_is_killed_with_it() {
        let start = Instant::now();
        let (ended, lines) = sh("sleep 60 & echo $!", AMPLE);
        assert!(matches!(ended, Ended::Exited(status) if status.success()));
        assert!(start.elapsed() < AMPLE / 2, "did not wait for the sleeper");
        let alive =
            Command::new("sh").args(["-c", &format!("kill -s 0 {} 2>&1", lines[0])]).output().expect("sh runs");
        let zombie =
            std::fs::read_to_string(format!("/proc/{}/stat", lines[0])).is_ok_and(|stat| stat.contains(") Z "));
        assert!(!alive.status.success() || zombie, "the sleeper is gone");
    }

    #[test]
    fn a_child_that_takes_too_long_is_stopped() {
        let limit = Duration::from_millis(50);
        let (ended, _) = sh("sleep 60", limit);
        assert!(matches!(ended, Ended::OutOfTime(passed) if passed == limit));
    }
}
