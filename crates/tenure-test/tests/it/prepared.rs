//! The state of a set-up: made for each run and for each proof, given to the future and to the check, not cut.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tenure::{Held, hold};
use tenure_test::{Act, Fault, Flavour, Proof, Recorded, Recorder, suspend};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
}

/// Counts its drop.
struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.made.fetch_add(1, SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // On a runtime: what exits asynchronously may be handed over.
        tokio::runtime::Handle::current();
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_set_up_is_made_for_each_run_and_is_not_cut() {
    let counts = Arc::new(Counts::default());
    let made = Arc::clone(&counts);
    let proof = Proof::new()
        .set_up(move || {
            let made = Arc::clone(&made);
            async move {
                suspend(5).await;
                Counted::new(&made)
            }
        })
        .check(|_run, state: Arc<Counted>| async move {
            assert_eq!(state.0.made.load(SeqCst), state.0.dropped.load(SeqCst) + 1);
            Ok(())
        });
    let report = proof.cancel_everywhere(|_, state: Arc<Counted>| async move {
        suspend(2).await;
        drop(state);
    });
    assert_eq!(report.suspensions, 2);
    assert_eq!(counts.made.load(SeqCst), report.runs);
    assert_eq!(counts.dropped.load(SeqCst), report.runs);
}

#[test]
fn what_is_made_once_is_made_once_for_each_proof_and_outlives_its_runs() {
    let counts = Arc::new(Counts::default());
    let (made, runs) = (Arc::clone(&counts), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&runs);
    let proof = Proof::new()
        .set_up_once(move || {
            let made = Arc::clone(&made);
            async move { Counted::new(&made) }
        })
        .set_up(move |once| {
            counted.fetch_add(1, SeqCst);
            async move { (once, 7) }
        })
        .check(|_run, state| async move {
            assert_eq!((state.0.0.dropped.load(SeqCst) % 2, state.1), (0, 7));
            Ok(())
        });
    let report = proof.cancel_everywhere(|_, _| suspend(1));
    assert_eq!((counts.made.load(SeqCst), counts.dropped.load(SeqCst)), (1, 1));
    assert_eq!(runs.load(SeqCst), report.runs);
    counts.made.store(0, SeqCst);
    counts.dropped.store(0, SeqCst);
    let _ = proof.fail_everywhere(|recorder, _| async move { recorder.step("one").await });
    assert_eq!((counts.made.load(SeqCst), counts.dropped.load(SeqCst)), (1, 1));
}

#[test]
fn a_server_made_once_serves_every_run() {
    let proof = Proof::new().real_clock().set_up_once(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, server)
    });
    let proof = proof.set_up(|server| async move { server.0 });
    let report = proof.cancel_everywhere(|_, address| async move {
        let mut stream = TcpStream::connect(*address).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await?;
        let mut answer = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await?;
        assert_eq!(&answer, b"hello");
        std::io::Result::Ok(())
    });
    assert!(report.suspensions >= 1, "{report}");
    assert_eq!(report.failed, 0);
}

#[test]
fn what_a_state_holds_is_no_leak_and_exits_when_the_run_is_over() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    let proof = Proof::new().flavour(Flavour::CurrentThread).set_up(move || {
        let kept = Arc::clone(&kept);
        async move {
            let recorder = Recorder::new();
            kept.lock().unwrap().push(recorder.clone());
            let held: Held<Recorded> = hold(recorder.resource("pool").on_exit(Act::suspend(2))).await.unwrap();
            Mutex::new(held)
        }
    });
    let report = proof.cancel_everywhere(|recorder, _| async move {
        let db = hold(recorder.resource("db")).await?;
        recorder.step("query").await?;
        db.close().await
    });
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len() as u64, report.runs);
    for recorder in notes.iter() {
        recorder.trace().assert_exited_once("pool");
    }
}

#[test]
fn a_set_up_that_panics_is_the_test_that_failed() {
    let fails = || {
        let proof = Proof::new().set_up(async || panic!("no database"));
        let _ = proof.try_cancel_everywhere(|_, _: Arc<()>| suspend(1));
    };
    let panic = std::panic::catch_unwind(fails).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"no database"));
    let fails = || {
        let proof = Proof::new().set_up_once(async || -> u32 { panic!("no server") });
        let _ = proof.try_cancel_everywhere(|_, _| async { Ok::<_, Fault>(()) });
    };
    let panic = std::panic::catch_unwind(fails).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"no server"));
}

#[test]
fn a_check_is_not_lost_by_a_set_up_after_it() {
    let fails = || Proof::new().check(|_| std::future::ready(Err("seen".to_owned())));
    let leak = fails().set_up(async || 1).try_cancel_everywhere(|_, _| suspend(1)).unwrap_err();
    assert!(leak.to_string().contains("seen"), "{leak}");
    let leak = fails().set_up_once(async || 1).try_cancel_everywhere(|_, _| suspend(1)).unwrap_err();
    assert!(leak.to_string().contains("seen"), "{leak}");
    let refused = || _ = fails().set_up_once(async || 1).set_up(|once| async move { *once });
    let panic = std::panic::catch_unwind(refused).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a check is to be set after the last set-up"));
}
