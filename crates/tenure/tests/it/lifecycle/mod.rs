//! Law 35: the life of a process, in processes of their own that are sent signals.
//!
//! A scenario is played by a child: this test binary, asked for the one test `child`. It says on standard error how far it
//! has come, and is sent signals when it has said so; nothing sleeps to wait for it.

mod asked;
mod judged;
mod paused;
mod unheard;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio, Termination};
use std::time::Duration;

use tenure::{AsyncExit, CancelToken, Closing, Outcome, Run, with};
use tenure_test::Fault;
use tokio::runtime::{Builder, Runtime};

use crate::support::entered;

/// Which scenario a child is to play, and in which way.
const SCENARIO: &str = "TENURE_TEST_SCENARIO";
const WAY: &str = "TENURE_TEST_WAY";
/// How the lines of a child begin that its parent reads.
const MARK: &str = "child: ";
/// Beyond this a child ends itself, lest a broken law hang the tests.
const WATCHDOG: Duration = Duration::from_secs(30);
/// A deadline that a test waits for.
const SHORT: Duration = Duration::from_millis(400);
/// The exit code of a stop that was not clean.
const UNCLEAN: Option<i32> = Some(70);

/// How a body is run: where it is, and on how many threads.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// `Run::block_on`; else `Run::until_signal` inside of a runtime.
    owns_runtime: bool,
    threads: usize,
}

impl Way {
    const ALL: [Self; 4] = [Self::on(1), Self::on(2), Self::inside(1), Self::inside(2)];

    const fn on(threads: usize) -> Self {
        Self { owns_runtime: true, threads }
    }

    const fn inside(threads: usize) -> Self {
        Self { owns_runtime: false, threads }
    }

    fn of_environment() -> Self {
        let way = std::env::var(WAY).unwrap();
        Self::ALL.into_iter().find(|other| format!("{other:?}") == way).unwrap()
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self.threads {
            1 => Builder::new_current_thread(),
            more => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(more);
                builder
            }
        };
        builder.enable_all().build().unwrap()
    }

    /// Runs a body that is dropped when the process is to stop.
    fn run<F: Future<Output: Termination>>(self, run: Run, body: F) -> ExitCode {
        let runtime = self.runtime();
        if self.owns_runtime {
            return run.block_on(runtime, body);
        }
        let code = runtime.block_on(run.until_signal(body));
        say("returned");
        code
    }

    /// Runs a body that is told when the process is to stop.
    fn cooperative<F: Future<Output: Termination>>(
        self,
        run: Run,
        body: impl FnOnce(CancelToken) -> F,
    ) -> ExitCode {
        let runtime = self.runtime();
        if self.owns_runtime {
            run.block_on_cooperative(runtime, body)
        } else {
            runtime.block_on(run.cooperative(body))
        }
    }
}

fn say(line: &str) {
    eprintln!("{MARK}{line}");
}

/// Stands still until the process ends.
fn block() -> ! {
    loop {
        std::thread::park();
    }
}

/// Says that the body has begun, and stays.
async fn ready<T>() -> T {
    say("ready");
    std::future::pending().await
}

/// A resource that says when its exit ends.
fn resource(name: &'static str) -> std::future::Ready<Result<impl AsyncExit<Error = Fault>, Fault>> {
    entered(Closing::of((), async move |()| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        say(&format!("exited {name}"));
        Ok(())
    }))
}

/// A resource whose exit says that it has begun, and goes wrong.
struct Going(Wrong);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Fails,
    Panics,
    Hangs,
    Blocks,
}

impl AsyncExit for Going {
    type Error = Fault;

    async fn exit(self, _: Outcome<'_>) -> Result<(), Fault> {
        say("exiting");
        match self.0 {
            Wrong::Fails => Err(Fault::new("meant to fail")),
            Wrong::Panics => panic!("meant to panic"),
            Wrong::Hangs => std::future::pending().await,
            Wrong::Blocks => block(),
        }
    }
}

fn going(wrong: Wrong) -> std::future::Ready<Result<Going, Fault>> {
    entered(Going(wrong))
}

async fn serve() -> Result<(), Fault> {
    with(resource("outer"), async |_| with(resource("inner"), async |_| ready().await).await).await
}

#[test]
#[ignore = "the child process of the tests beside it"]
fn child() {
    let Ok(name) = std::env::var(SCENARIO) else { return };
    std::thread::spawn(|| {
        std::thread::sleep(WATCHDOG);
        std::process::abort();
    });
    let way = Way::of_environment();
    let code = [asked::play, unheard::play, judged::play].iter().find_map(|play| play(&name, way));
    let code = code.unwrap_or_else(|| panic!("no scenario is named {name}"));
    // An exit code cannot be asked for its number.
    let number = (0..=u8::MAX).find(|number| code == ExitCode::from(*number));
    std::process::exit(number.unwrap().into());
}

struct Running {
    child: Child,
    lines: std::iter::Peekable<std::io::Lines<BufReader<std::process::ChildStderr>>>,
    said: Vec<String>,
    /// Open, and silent.
    _stdin: ChildStdin,
}

/// How a child has ended.
#[derive(Debug)]
struct Ended {
    #[expect(dead_code, reason = "for the message of a test that fails")]
    way: Way,
    code: Option<i32>,
    said: Vec<String>,
}

impl Running {
    fn start(scenario: &str, way: Way) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "lifecycle::child", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, scenario)
            .env(WAY, format!("{way:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().peekable();
        let stdin = child.stdin.take().unwrap();
        Self { child, lines, said: Vec::new(), _stdin: stdin }
    }

    /// Reads until the child has said this.
    #[track_caller]
    fn until(&mut self, line: &str) {
        while self.said.last().is_none_or(|said| said != line) {
            let next = self.lines.next().unwrap_or_else(|| panic!("it ended after {:?}", self.said)).unwrap();
            self.said.push(next.strip_prefix(MARK).unwrap_or(&next).to_owned());
        }
    }

    /// Reads until the child has said this once more.
    #[track_caller]
    fn until_again(&mut self, line: &str) {
        self.said.push(String::new());
        self.until(line);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends two signals with nothing between them. Two of a kind could be merged by the system.
    fn signal_both(&self, first: &str, second: &str) {
        let pid = self.child.id();
        let script = format!("kill -s {first} {pid}; kill -s {second} {pid}");
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// The exit code, and all that the child has said.
    fn end(mut self, way: Way) -> Ended {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.said.push(line.strip_prefix(MARK).unwrap_or(&line).to_owned());
        }
        Ended { way, code: self.child.wait().unwrap().code(), said: self.said }
    }
}

impl Ended {
    /// Checks the code, and all that was said; that a run has returned need not be expected.
    #[track_caller]
    fn check(&self, code: Option<i32>, said: &[&str]) {
        let own: Vec<&str> = self.said.iter().map(String::as_str).filter(|line| *line != "returned").collect();
        assert_eq!((self.code, own.as_slice()), (code, said), "{self:?}");
    }

    /// Checks the code, and that standard error says each of these.
    #[track_caller]
    fn check_told(&self, code: Option<i32>, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let told = self.said.join("\n");
        for part in parts {
            assert!(told.contains(part), "nothing of {part:?}: {self:?}");
        }
    }

    fn said(&self, line: &str) -> bool {
        self.said.iter().any(|said| said == line)
    }
}

/// Plays a scenario, in each of these ways, that ends by itself.
fn ends_by_itself(scenario: &str, ways: &[Way]) -> Vec<Ended> {
    ways.iter().map(|way| Running::start(scenario, *way).end(*way)).collect()
}

/// Plays a scenario in each of these ways, and sends it a signal each time that it has said the line beside it.
fn ends_by_signals(scenario: &str, ways: &[Way], signals: &[(&str, &str)]) -> Vec<Ended> {
    let play = |way: &Way| {
        let mut child = Running::start(scenario, *way);
        for (line, signal) in signals {
            child.until(line);
            child.signal(signal);
        }
        child.end(*way)
    };
    ways.iter().map(play).collect()
}
