//! A job that is taken from a channel of tokio's and then worked on; permits, locks and places of a channel.

use std::sync::{Arc, Mutex};

use tenure::{AsyncExit, Outcome, with};
use tenure_test::{PreparedProof, Proof};
use tokio::sync::{Semaphore, mpsc};

use crate::load::{found_in_each_of_ten, idle_and_busy, place};

/// A queue with one job, and the jobs that are done.
struct Queue {
    sender: mpsc::UnboundedSender<u32>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<u32>>,
    done: Mutex<Vec<u32>>,
}

impl Queue {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(7).unwrap();
        Self { sender, receiver: receiver.into(), done: Mutex::default() }
    }

    async fn receive(&self) -> Result<u32, String> {
        self.receiver.lock().await.recv().await.ok_or_else(|| "the queue is closed".to_owned())
    }
}

fn proof() -> PreparedProof<Queue> {
    Proof::new().suspend_often().set_up(async || Queue::new()).check(|_run, queue: Arc<Queue>| async move {
        let waiting = queue.receiver.lock().await.try_recv().is_ok();
        let done = queue.done.lock().unwrap().as_slice() == [7];
        if waiting == done { Err("the job is lost, or done twice".to_owned()) } else { Ok(()) }
    })
}

#[test]
fn recv_and_then_work_loses_the_job() {
    let at = place("museum/jobs.rs", include_str!("jobs.rs"), "the work");
    found_in_each_of_ten(&[&at], || {
        proof().expect_leak(|_, queue| async move {
            let job = queue.receive().await?;
            tokio::task::yield_now().await; // the work
            queue.done.lock().unwrap().push(job);
            Ok::<_, String>(())
        })
    });
}

/// A job that goes back to the queue unless it is done.
struct Job {
    queue: Arc<Queue>,
    job: u32,
}

impl AsyncExit for Job {
    type Error = String;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), String> {
        if outcome.is_completed() {
            self.queue.done.lock().unwrap().push(self.job);
            return Ok(());
        }
        self.queue.sender.send(self.job).map_err(|error| error.to_string())
    }
}

#[test]
fn a_job_as_a_context_goes_back() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, queue| async move {
            let enter = async move {
                let job = queue.receive().await?;
                Ok::<_, String>(Job { queue, job })
            };
            with(enter, async |_| {
                tokio::task::yield_now().await;
                Ok::<_, String>(())
            })
            .await
        });
        assert!(report.suspensions >= 2, "{report}");
    });
}

/// All permits, in a lock: whoever is dropped gives them back, unless it keeps them.
async fn with_permits(permits: Arc<Semaphore>, keep: bool) -> Result<(), tokio::sync::AcquireError> {
    let taken = permits.acquire_many(3).await?;
    if keep {
        taken.forget();
        tokio::task::yield_now().await; // the kept permits
        permits.add_permits(3);
    } else {
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn proof_of_permits() -> PreparedProof<Semaphore> {
    Proof::new().suspend_often().set_up(async || Semaphore::new(3)).check(|_run, permits| async move {
        match permits.available_permits() {
            3 => Ok(()),
            left => Err(format!("{left} of 3 permits are left")),
        }
    })
}

#[test]
fn permits_come_back_unless_they_are_kept() {
    let at = place("museum/jobs.rs", include_str!("jobs.rs"), "the kept permits");
    found_in_each_of_ten(&[&at], || proof_of_permits().expect_leak(|_, permits| with_permits(permits, true)));
    idle_and_busy(|| {
        let report = proof_of_permits().cancel_everywhere(|_, permits| with_permits(permits, false));
        assert!(report.suspensions >= 2, "{report}");
    });
}
