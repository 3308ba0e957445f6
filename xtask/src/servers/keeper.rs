//! Keeps a server: a small shell that outlives this process by just so long as it takes to stop it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::place::Place;
use crate::process::Group;

/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How many lines of a server's log are kept.
const LOG_LINES: usize = 40;

/// `sh -c SCRIPT sh FOLDER SIGNAL PROGRAM ARGUMENT…`: its input is a pipe on which nothing is ever
/// written. The pipe closes when its other end is dropped, or when the process that has it dies of
/// whatever cause; then the server is stopped. One that a client has stopped in order is started again, for
/// tests of just that. When the server has ended otherwise, its folder is removed.
///
/// The file `over` is made before `kept` is read, and read after `kept` is written: so no server is started
/// unseen by the one who stops it.
const SCRIPT: &str = r#"
folder=$1 signal=$2
shift 2
exec 3<&0
(read -r _ <&3; : >"$folder/over"; kill -s "$signal" "$(cat "$folder/kept")") >/dev/null 2>&1 &
while :; do
    "$@" 3<&- </dev/null &
    server=$!
    echo "$server" >"$folder/kept"
    [ -e "$folder/over" ] && kill -s "$signal" "$server"
    wait "$server" || break
    [ -e "$folder/over" ] && break
done
rm -rf -- "$folder"
"#;

/// A server that runs, stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    // Dropped last: what the shell has not removed is removed with it.
    place: Place,
    lifeline: Option<ChildStdin>,
    group: Group,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Keeper {
    /// Starts the server's command under a keeper.
    pub(crate) fn start(server: &Command, stop: &str, place: Place) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let mut shell = place.command("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(place.folder()).arg(stop);
        shell.arg(server.get_program()).args(server.get_args());
        shell.stdin(Stdio::piped());
        shell.stdout(writer.try_clone()?).stderr(writer);
        let mut group = Group::spawn(&mut shell)?;
        let lifeline = group.child().stdin.take();
        let log = Arc::default();
        collect(reader, Arc::clone(&log));
        Ok(Self { place, lifeline, group, log })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The end of the server's log, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let has_ended = !matches!(self.group.child().try_wait(), Ok(None));
        has_ended.then(|| self.last_words())
    }

    fn last_words(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end && matches!(self.group.child().try_wait(), Ok(None)) {
            thread::sleep(super::POLL);
        }
        // What is left now is killed by the drop of the group.
    }
}

/// Keeps the last lines that come out of a pipe, by a thread that ends with it.
fn collect(pipe: PipeReader, log: Arc<Mutex<VecDeque<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::Keeper;
    use crate::servers::place::Place;

    /// A server that says when it is up, and notes outside its folder that it was asked to stop.
    fn start(note: &Place) -> Keeper {
        let place = Place::make("Kept").expect("a place");
        let mut server = Command::new("sh");
        let script = format!(
            "trap 'echo stopped > {}; exit' TERM; echo up; while :; do sleep 0.01; done",
            note.write("note", "").expect("a note")
        );
        server.args(["-c", &script]);
        let keeper = Keeper::start(&server, "TERM", place).expect("it starts");
        wait_until(|| keeper.last_words() == "up");
        keeper
    }

    fn wait_until(mut what: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !what() {
            assert!(Instant::now() < end, "in vain");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_dropped_keeper_stops_its_server_and_removes_its_folder() {
        let note = Place::make("Note").expect("a place");
        let keeper = start(&note);
        let folder = keeper.place().folder().to_owned();
        assert!(folder.exists());
        drop(keeper);
        assert!(!folder.exists());
        let noted = std::fs::read_to_string(note.path("note")).expect("a note");
        assert_eq!(noted, "stopped\n");
    }

    #[test]
    fn a_server_that_a_client_has_stopped_is_started_again() {
        let place = Place::make("Again").expect("a place");
        let mut server = Command::new("sh");
        let script =
            format!("echo up; if [ -e {0} ]; then echo again; exec sleep 60; fi; : >{0}", place.path("once"));
        server.args(["-c", &script]);
        let keeper = Keeper::start(&server, "TERM", place).expect("it starts");
        wait_until(|| keeper.last_words() == "up\nup\nagain");
    }

    #[test]
    fn a_server_that_ends_by_itself_is_seen() {
        let place = Place::make("Brief").expect("a place");
        let mut server = Command::new("sh");
        server.args(["-c", "echo no room; exit 1"]);
        let mut keeper = Keeper::start(&server, "TERM", place).expect("it starts");
        let mut words = None;
        wait_until(|| {
            words = keeper.ended().filter(|words| !words.is_empty());
            words.is_some()
        });
        assert_eq!(words.as_deref(), Some("no room"));
    }
}
