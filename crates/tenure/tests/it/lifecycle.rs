//! Law 35: the life of a process, in processes of their own that are sent signals.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use tenure::{Closing, Run, hold, run, with};
use tenure_test::Fault;

use crate::support::entered;

/// Which scenario a child is to play.
const SCENARIO: &str = "TENURE_TEST_SCENARIO";
/// How the lines of a child begin that its parent reads.
const MARK: &str = "child: ";
/// Beyond this a child ends itself, lest a broken law hang the tests.
const WATCHDOG: Duration = Duration::from_secs(30);

fn say(line: &str) {
    eprintln!("{MARK}{line}");
}

/// A resource that says when its exit ends.
fn resource(name: &'static str) -> std::future::Ready<Result<impl tenure::AsyncExit<Error = Fault>, Fault>> {
    entered(Closing::of((), async move |()| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        say(&format!("exited {name}"));
        Ok(())
    }))
}

/// A resource whose exit says that it has begun, and never ends.
fn hanging() -> std::future::Ready<Result<impl tenure::AsyncExit<Error = Fault>, Fault>> {
    entered(Closing::of((), async |()| {
        say("exiting");
        std::future::pending().await
    }))
}

async fn serve() -> Result<(), Fault> {
    with(resource("outer"), async |_| {
        with(resource("inner"), async |_| {
            say("ready");
            std::future::pending::<Result<(), Fault>>().await
        })
        .await
    })
    .await
}

async fn scenario(name: &str) -> ExitCode {
    const LIMIT: Duration = Duration::from_millis(50);
    match name {
        "serve" => run(serve()).await,
        "hand over" => {
            run(async {
                drop(hold(resource("handed over")).await?);
                Ok::<_, Fault>(())
            })
            .await
        }
        "fail" => run(with(resource("outer"), async |_| Err::<(), _>(Fault::new("broken")))).await,
        "panic" => run(with(resource("outer"), async |_| -> Result<(), Fault> { panic!("meant") })).await,
        "hang" => {
            run(with(hanging(), async |_| {
                say("ready");
                std::future::pending::<Result<(), Fault>>().await
            }))
            .await
        }
        "limit" => {
            let body = with(hanging(), async |_| {
                say("ready");
                std::future::pending::<Result<(), Fault>>().await
            });
            Run::new().exit_limit(LIMIT).until_signal(body).await
        }
        "limit without a signal" => {
            let body = async {
                drop(hold(hanging()).await?);
                Ok::<_, Fault>(())
            };
            Run::new().exit_limit(LIMIT).until_signal(body).await
        }
        "cooperative" => {
            let body = async |token: tenure::CancelToken| {
                with(resource("outer"), async |_| {
                    say("ready");
                    token.cancelled().await;
                    say("asked to stop");
                    Ok::<_, Fault>(())
                })
                .await
            };
            Run::new().cooperative(body).await
        }
        "cooperative but deaf" => Run::new().exit_limit(LIMIT).cooperative(async |_| serve().await).await,
        other => panic!("no scenario is named {other}"),
    }
}

#[test]
#[ignore = "the child process of the tests beside it"]
fn child() {
    let Ok(name) = std::env::var(SCENARIO) else { return };
    std::thread::spawn(|| {
        std::thread::sleep(WATCHDOG);
        std::process::abort();
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(scenario(&name));
    // An exit code cannot be asked for its number.
    let number = (0..=u8::MAX).find(|number| code == ExitCode::from(*number));
    std::process::exit(number.unwrap().into());
}

struct Running {
    child: Child,
    lines: std::iter::Peekable<std::io::Lines<BufReader<std::process::ChildStderr>>>,
    said: Vec<String>,
}

impl Running {
    fn start(scenario: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "lifecycle::child", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, scenario)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().peekable();
        Self { child, lines, said: Vec::new() }
    }

    /// Reads until the child has said this.
    #[track_caller]
    fn until(&mut self, line: &str) {
        while self.said.last().is_none_or(|said| said != line) {
            let next = self.lines.next().unwrap_or_else(|| panic!("it ended after {:?}", self.said)).unwrap();
            self.said.push(next.strip_prefix(MARK).unwrap_or(&next).to_owned());
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code, and all that the child has said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.said.push(line.strip_prefix(MARK).unwrap_or(&line).to_owned());
        }
        (self.child.wait().unwrap().code(), self.said)
    }
}

#[test]
fn law_35_a_signal_drops_the_body_exits_in_order_and_ends_with_the_conventional_code() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = Running::start("serve");
        child.until("ready");
        child.signal(signal);
        let (ended, said) = child.end();
        assert_eq!(said, ["ready", "exited inner", "exited outer"]);
        assert_eq!(ended, Some(code));
    }
}

#[test]
fn law_35_what_was_handed_over_is_drained() {
    let (ended, said) = Running::start("hand over").end();
    assert_eq!((ended, said), (Some(0), vec!["exited handed over".to_owned()]));
}

#[test]
fn law_35_a_body_that_fails_or_panics_exits_first() {
    let (ended, said) = Running::start("fail").end();
    assert_eq!(ended, Some(1));
    assert_eq!(said[0], "exited outer", "{said:?}");
    let (ended, said) = Running::start("panic").end();
    assert_eq!(ended, Some(101), "{said:?}");
    assert!(said.contains(&"exited outer".to_owned()), "{said:?}");
}

#[test]
fn law_35_a_second_signal_forces_the_end() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = Running::start("hang");
        child.until("ready");
        child.signal("INT");
        child.until("exiting");
        child.signal(second);
        let (ended, said) = child.end();
        assert_eq!((ended, said.len()), (Some(code), 2), "{said:?}");
    }
}

#[test]
fn law_35_beyond_the_limit_the_process_ends_and_says_what_was_not_exited() {
    let mut child = Running::start("limit");
    child.until("ready");
    child.signal("TERM");
    let (ended, said) = child.end();
    assert_eq!(ended, Some(143));
    let told = said.join("\n");
    assert!(told.contains("not everything was exited") && told.contains("lifecycle.rs:"), "{told}");
    let (ended, said) = Running::start("limit without a signal").end();
    assert_eq!(ended, Some(1), "{said:?}");
}

#[test]
fn law_35_a_cooperative_body_is_asked_and_awaited() {
    let mut child = Running::start("cooperative");
    child.until("ready");
    child.signal("INT");
    let (ended, said) = child.end();
    assert_eq!(said, ["ready", "asked to stop", "exited outer"]);
    assert_eq!(ended, Some(130));
    let mut child = Running::start("cooperative but deaf");
    child.until("ready");
    child.signal("INT");
    let (ended, said) = child.end();
    assert_eq!(said, ["ready", "exited inner", "exited outer"]);
    assert_eq!(ended, Some(130));
}
