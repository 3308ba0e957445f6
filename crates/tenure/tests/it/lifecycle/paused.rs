//! Law 35a: the parts of a stop's time, measured on a clock that stands still.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use tenure::{Run, with};
use tenure_test::{Act, Fault, Recorder};
use tokio::runtime::Builder;
use tokio::time::Instant;

use super::{Wrong, going, resource};
use crate::support::{caught, drop_at};

const TIMEOUT: Duration = Duration::from_secs(100);

async fn pending() -> Result<(), Fault> {
    std::future::pending().await
}

/// Notes when it is dropped.
struct Dropped<'t>(&'t Mutex<Option<Instant>>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn law_35a_a_future_stops_the_body_as_a_signal_does() {
    for cooperative in [false, true] {
        let run = Run::new().until(tokio::time::sleep(TIMEOUT)).until(std::future::pending::<u8>());
        let began = Instant::now();
        let code = if cooperative {
            run.cooperative(async |token| {
                with(resource("asked"), async |_| Ok::<_, Fault>(token.cancelled().await)).await
            })
            .await
        } else {
            run.until_signal(with(resource("dropped"), async |_| pending().await)).await
        };
        assert_eq!((code, began.elapsed().as_secs()), (ExitCode::SUCCESS, TIMEOUT.as_secs()));
    }
}

#[tokio::test(start_paused = true)]
async fn law_35_a_body_that_is_asked_before_its_first_poll_is_not_polled() {
    let run = || Run::new().until(std::future::ready(()));
    let code = run().until_signal(async { unreachable!("it is polled") }).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let code = run().cooperative(async |_| unreachable!("it is called")).await;
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn law_14_a_body_that_ends_in_the_poll_in_which_it_is_asked_has_its_result() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    // Both at once, from another task: the run is polled when both have happened.
    tokio::spawn(async move {
        stop.send(()).unwrap();
        finish.send(()).unwrap();
    });
    let body = async {
        finished.await.unwrap();
        ExitCode::from(7)
    };
    let code = Run::new().until(stopped).until_signal(body).await;
    assert_eq!(code, ExitCode::from(7));
}

#[test]
fn law_35a_the_body_has_a_part_of_the_time_and_the_exits_what_is_left() {
    // Three fifths by default; the last second is for the end of the runtime.
    for (own, part) in [(None, 60), (Some(TIMEOUT / 4), 25), (Some(2 * TIMEOUT), 100)] {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (dropped, ended) = runtime.block_on(async {
            let run = Run::new().exit_timeout(TIMEOUT).until(tokio::time::sleep(TIMEOUT));
            let run = if let Some(own) = own { run.body_stop_timeout(own) } else { run };
            let asked = Instant::now() + TIMEOUT;
            let dropped = Mutex::new(None);
            let body = async |_| {
                let _dropped = Dropped(&dropped);
                with(going(Wrong::Hangs), async |_| pending().await).await
            };
            assert_eq!(run.cooperative(body).await, ExitCode::from(70));
            let dropped = dropped.lock().unwrap().unwrap();
            (dropped.duration_since(asked).as_secs(), asked.elapsed().as_secs())
        });
        assert_eq!((dropped, ended), (part, part.max(99)));
    }
}

#[tokio::test(start_paused = true)]
async fn law_35a_a_body_that_ends_early_leaves_its_part_to_the_exits() {
    let run = Run::new().exit_timeout(TIMEOUT).until(std::future::pending::<()>());
    let began = Instant::now();
    let code = run.until_signal(async { drop(tenure::hold(going(Wrong::Hangs)).await) }).await;
    assert_eq!((code, began.elapsed().as_secs()), (ExitCode::from(70), 99));
}

#[tokio::test(start_paused = true)]
async fn law_35_a_future_to_stop_by_that_panics_is_a_panic_of_the_run_after_the_exits() {
    let run = Run::new().until(async { panic!("meant") });
    let exited = Mutex::new(None);
    let body = async {
        let _dropped = Dropped(&exited);
        with(resource("held"), async |_| pending().await).await
    };
    // Before the first poll, so that nothing is entered.
    assert!(caught(run.until_signal(body)).await.is_err());
    let run = Run::new().until(async {
        tokio::task::yield_now().await;
        panic!("meant");
    });
    let before = tenure::counters().exited;
    let payload =
        caught(run.until_signal(with(resource("held"), async |_| pending().await))).await.unwrap_err();
    assert_eq!(crate::support::message(&*payload), "meant");
    assert_eq!(tenure::counters().exited, before + 1);
}

#[tokio::test(start_paused = true)]
async fn law_35_a_body_that_uses_up_its_budget_is_stopped_all_the_same() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let body = async {
        let mut stop = Some(stop);
        // It ends by itself only if nothing stops it.
        for _ in 0..100_000 {
            sender.send(()).await.unwrap();
            receiver.recv().await;
            stop.take().map_or(Ok(()), |stop| stop.send(())).unwrap();
        }
        ExitCode::from(7)
    };
    let code = Run::new().until(stopped).until_signal(body).await;
    assert_eq!(code, ExitCode::SUCCESS);
}

/// A request that failed when its client was gone: its exit was told, and went well.
#[tokio::test(start_paused = true)]
async fn law_35c_a_body_that_failed_without_a_caller_is_no_fault_of_the_end() {
    let recorder = Recorder::new();
    let body = async {
        let resource = recorder.resource("resource").on_enter(Act::at_once()).on_exit(Act::suspend(3));
        drop_at(1, with(resource, async |_| Err::<(), _>(Fault::new("refused")))).await;
        assert_eq!(tenure::open().len(), 1, "it exits in the background");
    };
    assert_eq!(Run::new().until_signal(body).await, ExitCode::SUCCESS);
    recorder.trace().assert_exited_once("resource");
}
