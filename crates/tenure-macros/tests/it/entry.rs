//! `#[tenure::main]` and `#[tenure::test]`: the runtime they make, and what they return.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

mod plain {
    #[tenure::main]
    pub(super) async fn main() {
        assert_eq!(
            tokio::runtime::Handle::current().runtime_flavor(),
            tokio::runtime::RuntimeFlavor::MultiThread
        );
    }
}

mod with_options {
    #[tenure::main(flavor = "multi_thread", worker_threads = 0b11_u8, exit_timeout = "500ms", crate = "tenure")]
    pub(super) async fn main() -> Result<(), String> {
        assert_eq!(tokio::runtime::Handle::current().metrics().num_workers(), 3);
        let nothing: Option<u8> = None;
        nothing.ok_or("nothing was there")?;
        Ok(())
    }
}

mod with_code {
    #[tenure::main(flavor = "current_thread")]
    pub(super) async fn main() -> std::process::ExitCode {
        assert_eq!(
            tokio::runtime::Handle::current().runtime_flavor(),
            tokio::runtime::RuntimeFlavor::CurrentThread
        );
        std::process::ExitCode::from(7)
    }
}

mod cooperative {
    #[tenure::main]
    pub(super) async fn main(mut shutdown: tenure::CancelToken) -> Result<(), std::io::Error> {
        let borrowed = &mut shutdown;
        assert!(!borrowed.is_cancelled());
        Ok(())
    }
}

#[test]
fn main_ends_with_the_code_of_what_it_returns() {
    assert_eq!(plain::main(), ExitCode::SUCCESS);
    assert_eq!(with_options::main(), ExitCode::FAILURE);
    assert_eq!(with_code::main(), ExitCode::from(7));
    assert_eq!(cooperative::main(), ExitCode::SUCCESS);
}

#[tenure::test]
async fn a_test_has_one_thread() {
    assert_eq!(Handle::current().runtime_flavor(), RuntimeFlavor::CurrentThread);
}

#[tenure::test(flavor = "multi_thread", worker_threads = 2, drain_limit = "2m")]
async fn a_test_may_have_several() -> Result<(), String> {
    assert_eq!(Handle::current().metrics().num_workers(), 2);
    Ok(())
}

#[tenure::test(start_paused = true)]
async fn the_clock_of_a_test_may_stand() {
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    tokio::time::sleep(hour).await;
    assert_eq!(start.elapsed(), hour);
}

#[tenure::test]
#[should_panic(expected = "of the body")]
async fn other_attributes_of_a_test_work() {
    panic!("of the body");
}

#[tenure::test]
#[should_panic(expected = "of the body")]
async fn a_thread_that_blocks_does_not_keep_a_failed_test_from_its_end() {
    tokio::task::spawn_blocking(|| -> () {
        loop {
            std::thread::park();
        }
    });
    panic!("of the body");
}

/// Mains that are asked to end. They run in a process of their own, whose signals are nobody else's.
#[cfg(unix)]
mod asked_to_end {
    use std::process::{Command, ExitCode, id};
    use std::sync::Mutex;

    static EVENTS: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    fn push(event: &'static str) {
        EVENTS.lock().expect("nothing panics while it is locked").push(event);
    }

    fn take() -> Vec<&'static str> {
        std::mem::take(&mut EVENTS.lock().expect("nothing panics while it is locked"))
    }

    fn signal_this_process(signal: &str) {
        let killed = Command::new("kill").args([signal, &id().to_string()]).status();
        assert!(killed.expect("there is a `kill`").success());
    }

    #[tenure::context]
    async fn server() -> Result<(), super::super::trace::Error> {
        let back = lend!(());
        tokio::task::yield_now().await;
        push(if back.ended.is_completed() { "exit, completed" } else { "exit, not completed" });
        Ok(())
    }

    mod dropped {
        #[tenure::main(exit_timeout = "10s")]
        pub(super) async fn main() -> Result<(), super::super::super::trace::Error> {
            tenure::with(super::server(), async |_| {
                super::signal_this_process("-TERM");
                std::future::pending().await
            })
            .await
        }
    }

    mod told {
        #[tenure::main(exit_timeout = "10s")]
        pub(super) async fn main(
            shutdown: tenure::CancelToken,
        ) -> Result<(), super::super::super::trace::Error> {
            tenure::with(super::server(), async |_| {
                super::signal_this_process("-TERM");
                shutdown.cancelled().await;
                super::push("told");
                Ok(())
            })
            .await
        }
    }

    mod hung_up {
        #[tenure::main(success_after_signal = true, stop_on_hangup = true, stop_on_quit = false)]
        pub(super) async fn main() -> Result<(), super::super::super::trace::Error> {
            tenure::with(super::server(), async |_| {
                super::signal_this_process("-HUP");
                std::future::pending().await
            })
            .await
        }
    }

    mod failing {
        #[tenure::context]
        async fn journal() -> Result<(), super::super::super::trace::Error> {
            lend!(());
            Err(super::super::super::trace::Error::Exit)
        }

        #[tenure::main(exit_timeout = "10s", body_stop_timeout = "1s")]
        pub(super) async fn main() -> Result<(), super::super::super::trace::Error> {
            tenure::with(journal(), async |_| {
                super::signal_this_process("-TERM");
                std::future::pending().await
            })
            .await
        }
    }

    #[test]
    #[ignore = "started by the test below"]
    fn child() {
        let terminated = ExitCode::from(128 + 15);
        assert_eq!(dropped::main(), terminated);
        assert_eq!(take(), ["exit, not completed"]);
        assert_eq!(told::main(), terminated);
        assert_eq!(take(), ["told", "exit, completed"]);
        assert_eq!(hung_up::main(), ExitCode::SUCCESS);
        assert_eq!(take(), ["exit, not completed"]);
        assert_eq!(failing::main(), ExitCode::from(70));
    }

    #[test]
    fn law_35_main_is_dropped_or_told_and_its_exits_run() {
        let child = Command::new(std::env::current_exe().expect("it is running"))
            .args(["--ignored", "--exact", "entry::asked_to_end::child"])
            .output()
            .expect("it has been started before");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}

/// What is still open fails a test, by name and place.
mod left_open {
    use crate::trace::{Error, Trace};

    #[tenure::context]
    async fn forgotten() -> Result<Trace, Error> {
        lend!(Trace::new());
        Ok(())
    }

    #[tenure::test(start_paused = true, drain_limit = "1s")]
    #[should_panic(expected = "entry::left_open::by_a_task_that_goes_on: 1 open")]
    async fn by_a_task_that_goes_on() {
        let entered = std::sync::Arc::new(tokio::sync::Notify::new());
        let told = std::sync::Arc::clone(&entered);
        tokio::spawn(async move {
            tenure::with(forgotten(), async |_| -> Result<(), Error> {
                told.notify_one();
                std::future::pending().await
            })
            .await
        });
        entered.notified().await;
    }
}
