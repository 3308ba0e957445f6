//! The server is stopped and starts again while a pool works: clients fail with what happened, nothing that was told to
//! be kept is lost, and the pool is whole afterwards.
//!
//! It has a test target of its own, since nobody else can use the server meanwhile. It needs servers that are started
//! again when they are stopped: those of `cargo xtask test --only servers`.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

#[path = "../servers/server.rs"]
#[expect(dead_code, reason = "the suite in `servers` uses the rest")]
mod server;
mod standby;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};
use tenure::with;
use tenure_pool::{GetError, Lease, PoolError};
use tenure_sqlx::pool::{Connections, Pool};
use tenure_sqlx::{Fate, is_conflict};
use tokio::sync::watch;

use server::{MySql, Options, Postgres, Server};

/// How many clients write at a time.
const CLIENTS: u32 = 16;
/// How many connections they share.
const CONNECTIONS: usize = 4;
/// How many notes have to be kept before the server is stopped, and again after it.
const ENOUGH: u32 = 200;

const TABLE: &str = "tenure_restart";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_stopped_and_started_under_load() {
    // Run by the server in its folder: a fast shutdown.
    let stop = "COPY (SELECT 1) TO PROGRAM 'kill -INT $(head -n 1 postmaster.pid)'";
    is_stopped_and_started_under_load::<Postgres>(stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_stopped_and_started_under_load() {
    is_stopped_and_started_under_load::<MySql>("SHUTDOWN").await;
}

async fn is_stopped_and_started_under_load<S: Server>(stop: &str) {
    let options = address::<S>();
    let mut witness = options.connect().await.unwrap();
    S::execute(&mut witness, &format!("CREATE TABLE {TABLE} (text VARCHAR(40) PRIMARY KEY)")).await.unwrap();
    let pool = Pool::builder(Connections::<S::Db>::new(options.clone())).max_size(CONNECTIONS);
    let pool = pool.create_backoff(Duration::from_millis(5), Duration::from_millis(100)).build().unwrap();
    let ledger = with(pool, async |pool| {
        let load = Load::new();
        let clients: Vec<_> =
            (0..CLIENTS).map(|name| tokio::spawn(client::<S>(pool.clone(), load.clone(), name))).collect();
        load.wait_for(ENOUGH).await;
        // The server hangs up before it answers, or answers first.
        let _cut_off = S::execute(&mut witness, stop).await;
        load.end_after(ENOUGH);
        let mut ledger = Ledger::default();
        for client in clients {
            ledger.add(client.await.unwrap());
        }
        // The pool is whole: all of it can be had at once.
        let mut leases = Vec::new();
        for _ in 0..CONNECTIONS {
            leases.push(pool.get().await?);
        }
        leases.into_iter().for_each(Lease::complete);
        Ok::<_, Trouble>(ledger)
    })
    .await
    .unwrap();

    let mut witness = options.connect().await.unwrap();
    let there = S::texts(&mut witness, &format!("SELECT text FROM {TABLE}")).await.unwrap();
    ledger.check(&there.into_iter().collect());
    S::execute(&mut witness, &format!("DROP TABLE {TABLE}")).await.unwrap();
    witness.close().await.unwrap();
}

fn address<S: Server>() -> Options<S> {
    let Ok(url) = std::env::var(S::VARIABLE) else {
        panic!("{} is not set: run `cargo xtask test --only servers`, which starts servers", S::VARIABLE);
    };
    url.parse().unwrap_or_else(|error| panic!("{} is no address: {error:?}", S::VARIABLE))
}

/// Writes notes, each in a transaction, until there is an end.
async fn client<S: Server>(pool: Pool<S::Db>, load: Load, name: u32) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0_u32.. {
        if load.has_ended() {
            break;
        }
        let text = format!("{name} {n}");
        let insert = format!("INSERT INTO {TABLE} VALUES ('{text}')");
        let written = with(pool.get(), async |connection| {
            with(connection.transaction(), async |transaction| {
                S::prepared(transaction, &insert).await?;
                Ok::<_, Trouble>(())
            })
            .await
        });
        match written.await {
            Ok(()) => {
                ledger.kept.insert(text);
                load.count();
            }
            Err(trouble) => {
                trouble.check();
                if trouble.is_unknown() {
                    ledger.unknown.insert(text);
                }
                ledger.failed += 1;
            }
        }
    }
    ledger
}

/// How many notes are kept, and at how many the clients end.
#[derive(Clone)]
struct Load {
    kept: watch::Sender<u32>,
    end: Arc<AtomicU32>,
}

impl Load {
    fn new() -> Self {
        Self { kept: watch::Sender::new(0), end: Arc::new(AtomicU32::new(u32::MAX)) }
    }

    fn count(&self) {
        self.kept.send_modify(|kept| *kept += 1);
    }

    async fn wait_for(&self, count: u32) {
        self.kept.subscribe().wait_for(|kept| *kept >= count).await.unwrap();
    }

    // Relaxed: the clients see it sooner or later.
    fn end_after(&self, more: u32) {
        self.end.store(*self.kept.borrow() + more, Ordering::Relaxed);
    }

    fn has_ended(&self) -> bool {
        *self.kept.borrow() >= self.end.load(Ordering::Relaxed)
    }
}

/// What the clients were told of their notes.
#[derive(Default)]
struct Ledger {
    kept: BTreeSet<String>,
    unknown: BTreeSet<String>,
    failed: u32,
}

impl Ledger {
    fn add(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.unknown.extend(other.unknown);
        self.failed += other.failed;
    }

    /// Checks that what they were told is true of the notes that are there.
    #[track_caller]
    fn check(&self, there: &BTreeSet<String>) {
        assert!(self.failed > 0, "the server was not stopped");
        let lost: Vec<_> = self.kept.difference(there).collect();
        assert!(lost.is_empty(), "told to be kept, and lost: {lost:?}");
        let surplus: Vec<_> =
            there.difference(&self.kept).filter(|text| !self.unknown.contains(*text)).collect();
        assert!(surplus.is_empty(), "told to be undone, and kept: {surplus:?}");
    }
}

/// How a client's transaction may end.
#[derive(Debug)]
enum Trouble {
    Get(GetError),
    Pool(PoolError),
    Tenure(tenure_sqlx::Error),
    Statement(sqlx::Error),
}

impl From<GetError> for Trouble {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<tenure_sqlx::Error> for Trouble {
    fn from(error: tenure_sqlx::Error) -> Self {
        Self::Tenure(error)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Statement(error)
    }
}

impl Trouble {
    /// Whether the note may have been kept nevertheless.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Tenure(error) if error.fate() == Some(Fate::Unknown))
    }

    /// Checks that it says what happened: there is a cause, and it is none that running again would cure.
    fn check(&self) {
        match self {
            Self::Get(error) => panic!("a get outlives a restart: {error:?}"),
            Self::Pool(error) => panic!("the pool is open: {error:?}"),
            Self::Tenure(error) => {
                assert!(std::error::Error::source(error).is_some() || error.is_closed(), "{error:?}");
            }
            Self::Statement(error) => assert!(!is_conflict(error), "{error:?}"),
        }
    }
}
