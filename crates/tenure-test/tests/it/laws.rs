//! The suite for resources, on resources that are right and on some with a known fault.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use tenure::{AsyncExit, Outcome, shield};
use tenure_test::{Flavour, Leak, Proof, Report, Violation, laws, suspend};

/// A connection to a server that counts open transactions.
#[derive(Clone, Default)]
struct Server {
    open: Arc<AtomicI64>,
}

struct Transaction {
    server: Server,
    failing: bool,
}

impl Server {
    /// The server opens the transaction, and only then is its answer waited for.
    async fn begin(self, failing: bool) -> io::Result<Transaction> {
        self.open.fetch_add(1, SeqCst);
        suspend(1).await;
        Ok(Transaction { server: self, failing })
    }

    async fn look(self) -> Result<(), String> {
        match self.open.swap(0, SeqCst) {
            0 => Ok(()),
            open => Err(format!("{open} transactions are open")),
        }
    }
}

impl AsyncExit for Transaction {
    type Error = io::Error;

    async fn exit(self, outcome: Outcome<'_>) -> io::Result<()> {
        if self.failing && outcome.is_cancelled() {
            return Err(io::Error::other("no rollback today"));
        }
        suspend(1).await;
        self.server.open.fetch_sub(1, SeqCst);
        Ok(())
    }
}

fn check<C>(enter: impl Fn(Server) -> C) -> Result<Report, Box<Leak>>
where
    C: IntoFuture<Output = io::Result<Transaction>, IntoFuture: Send + 'static> + Send + 'static,
{
    let server = Server::default();
    let looked_at = server.clone();
    laws::resource(move || enter(server.clone())).is_clean(move || looked_at.clone().look()).try_check()
}

#[test]
fn a_resource_that_is_right_passes() {
    let report = check(|server| shield(server.begin(false))).unwrap();
    // Enter, body and exit. The exit of a guard that a panic drops runs in the background: one place less to cut.
    assert_eq!(report.suspensions, 3);
    let places = 4 * 3 * 3 - 1;
    // Both flavours, four ways to cancel.
    assert_eq!(report.cut, places * 2 * 4);
}

#[test]
fn law_10_an_enter_that_has_to_be_shielded_and_is_not_is_caught() {
    let leak = check(|server| server.begin(false)).unwrap_err();
    assert_eq!(leak.suspension(), Some(1));
    assert_eq!(leak.violations(), [Violation::Check("1 transactions are open".to_owned())], "{leak}");
    assert!(leak.to_string().contains("entered by With, body Completed"), "{leak}");
    assert!(leak.to_string().contains("does it need `shield`?"), "{leak}");
}

#[test]
fn an_exit_that_fails_when_cancelled_is_caught() {
    let leak = check(|server| shield(server.begin(true))).unwrap_err();
    assert!(leak.to_string().contains("no rollback today"), "{leak}");
}

#[test]
#[should_panic(expected = "the result is Err(Enter(")]
fn an_enter_that_fails_is_no_success() {
    let refused = || async { Err::<Transaction, _>(io::Error::other("refused")) };
    let _ = laws::resource(refused).try_check();
}

#[test]
fn the_body_is_run_with_the_resource() {
    let server = Server::default();
    let used = Arc::new(AtomicI64::new(0));
    let count = Arc::clone(&used);
    let report = laws::resource(move || shield(server.clone().begin(false)))
        .proof(Proof::new().flavour(Flavour::CurrentThread))
        .body(move |transaction| {
            let count = count.clone();
            Box::pin(async move {
                suspend(1).await;
                assert_eq!(transaction.server.open.load(SeqCst), 1);
                count.fetch_add(1, SeqCst);
                Ok(())
            })
        })
        .check();
    assert_eq!(report.suspensions, 4);
    assert!(used.load(SeqCst) > 0);
}
