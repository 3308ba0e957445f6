//! A place of its own on a server, and a witness that looks at it from outside.

use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use sqlx::{ConnectOptions as _, Connection as _};
use tenure_sqlx::Connection;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::server::{Options as ConnectOptions, Raw, Server};

/// How long something may take that is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// How long a scenario may take, on whatever machine.
const SCENARIO_LIMIT: Duration = Duration::from_secs(180);

/// A schema or database of its own, with the empty table `notes` and the table `account` with two rows.
pub(crate) struct Place<S> {
    label: String,
    server: PhantomData<S>,
}

impl<S: Server> Place<S> {
    pub(crate) async fn make() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a number that differs is all that is wanted.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = Self { label: format!("tenure_{}_{count}", process::id()), server: PhantomData };
        let mut witness = Witness::<S>::look().await;
        S::execute(&mut witness.0, &S::place(&place.label).0).await.unwrap();
        let mut connection = place.options().connect().await.unwrap();
        for statement in [
            format!("CREATE TABLE notes (id {} PRIMARY KEY, text VARCHAR(200) NOT NULL UNIQUE)", S::COUNTER),
            "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)".to_owned(),
            "INSERT INTO account VALUES (1, 100), (2, 100)".to_owned(),
        ] {
            S::execute(&mut connection, &statement).await.unwrap();
        }
        connection.close().await.unwrap();
        place
    }

    /// Removes it, after all that was begun on it has ended.
    pub(crate) async fn remove(self) {
        self.no_session_left().await;
        let mut witness = Witness::<S>::look().await;
        S::execute(&mut witness.0, &S::place(&self.label).1).await.unwrap();
        witness.0.close().await.unwrap();
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn options(&self) -> ConnectOptions<S> {
        S::set_apart(address::<S>(), &self.label)
    }

    pub(crate) async fn connect(&self) -> Connection<S::Db> {
        S::connect(self.options()).await.unwrap()
    }

    /// The texts that are committed, in order of insertion.
    pub(crate) async fn notes(&self) -> Vec<String> {
        let mut connection = self.options().connect().await.unwrap();
        let notes = S::texts(&mut connection, "SELECT text FROM notes ORDER BY id").await.unwrap();
        connection.close().await.unwrap();
        notes
    }

    /// Waits until no session has a transaction open, nor a statement running.
    #[track_caller]
    pub(crate) fn all_idle(&self) -> impl Future<Output = ()> {
        let idle = self.states_become(|states| states.iter().all(|state| state == S::IDLE));
        async move {
            idle.await;
            let mut witness = Witness::<S>::look().await;
            S::execute(&mut witness.0, &S::lock(&self.label)).await.expect("no transaction is left open");
            witness.0.close().await.unwrap();
        }
    }

    /// Waits until a statement runs that takes its time.
    #[track_caller]
    pub(crate) fn some_sleeping(&self) -> impl Future<Output = ()> {
        self.answers_become(S::sleeping(&self.label), |sessions| !sessions.is_empty())
    }

    /// Waits until all sessions have ended.
    #[track_caller]
    pub(crate) fn no_session_left(&self) -> impl Future<Output = ()> {
        self.states_become(<[String]>::is_empty)
    }

    #[track_caller]
    fn states_become(&self, expected: impl Fn(&[String]) -> bool) -> impl Future<Output = ()> {
        self.answers_become(S::states(&self.label), expected)
    }

    /// Asks the server until its answer is as it should be.
    #[track_caller]
    fn answers_become(
        &self,
        question: String,
        expected: impl Fn(&[String]) -> bool,
    ) -> impl Future<Output = ()> {
        let caller = Location::caller();
        let end = Instant::now() + LIMIT;
        async move {
            let mut witness = Witness::<S>::look().await;
            loop {
                let answers = S::texts(&mut witness.0, &question).await.unwrap();
                if expected(&answers) {
                    break;
                }
                assert!(Instant::now() < end, "at {caller}: {answers:?}");
            }
            witness.0.close().await.unwrap();
        }
    }
}

/// The address of the server.
pub(crate) fn address<S: Server>() -> ConnectOptions<S> {
    let Ok(url) = std::env::var(S::VARIABLE) else {
        panic!("{} is not set: run `cargo xtask test --only servers`, which starts servers", S::VARIABLE);
    };
    url.parse().unwrap_or_else(|error| panic!("{} is no address: {error:?}", S::VARIABLE))
}

/// A connection that belongs to no place.
pub(crate) struct Witness<S: Server>(pub(crate) Raw<S>);

impl<S: Server> Witness<S> {
    pub(crate) async fn look() -> Self {
        Self(address::<S>().connect().await.unwrap())
    }
}

/// Makes of each scenario a test on each server.
macro_rules! on_both_servers {
    ($($scenario:ident),* $(,)?) => {
        mod postgres {$(
            #[test]
            fn $scenario() {
                $crate::common::on_both_flavours(&super::$scenario::<$crate::server::Postgres>);
            }
        )*}
        mod mysql {$(
            #[test]
            fn $scenario() {
                $crate::common::on_both_flavours(&super::$scenario::<$crate::server::MySql>);
            }
        )*}
    };
}
pub(crate) use on_both_servers;

/// Runs a scenario on a runtime of each flavour, in a place of its own which must be left in order.
pub(crate) fn on_both_flavours<S: Server>(scenario: &impl AsyncFn(&Place<S>)) {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::make().await;
            timeout(SCENARIO_LIMIT, scenario(&place)).await.expect("the scenario ends within its limit");
            let report = tenure::drain(LIMIT).await;
            assert!(report.open.is_empty(), "{report:?}");
            assert!(tenure::open().is_empty());
            place.remove().await;
        });
    }
}

/// Runs a scenario of many runs on one runtime, for as long as it takes.
pub(crate) fn on_multi_thread<S: Server>(scenario: impl AsyncFnOnce(&Place<S>)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::make().await;
        scenario(&place).await;
        let report = tenure::drain(LIMIT).await;
        assert!(report.open.is_empty(), "{report:?}");
        place.remove().await;
    });
}

/// Waits for all that was handed over, and says what went wrong.
pub(crate) async fn drained() -> Vec<String> {
    let report = tenure::drain(LIMIT).await;
    assert!(report.open.is_empty(), "{report:?}");
    let expected = tenure::IncidentKind::BodyUnclaimed;
    let unexpected = report.incidents.iter().filter(|incident| incident.kind != expected);
    unexpected.map(ToString::to_string).collect()
}

/// Polls the future until the proxy has come to what it waits for.
#[track_caller]
pub(crate) fn until_reached<F: Future>(future: Pin<&mut F>, proxy: &Proxy) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let reached = std::pin::pin!(proxy.reached());
        let first = select(future, reached).await;
        assert!(matches!(first, Either::Right(_)), "at {caller}: it ended before");
    }
}

/// Writes a note.
pub(crate) async fn note<S: Server>(connection: &mut Raw<S>, text: &str) -> Result<(), sqlx::Error> {
    S::prepared(connection, &format!("INSERT INTO notes (text) VALUES ('{text}')")).await
}

/// Checks that a connection is clean by doing something on it that is no transaction's.
pub(crate) async fn assert_clean<S: Server>(place: &Place<S>, connection: &mut Connection<S::Db>) {
    let connection = connection.ready().await.unwrap();
    assert!(!connection.is_in_transaction(), "sqlx counts a transaction");
    assert_eq!(S::texts(connection, "SELECT 'echo'").await.unwrap(), ["echo"]);
    assert_eq!(S::texts(connection, S::transactions()).await.unwrap(), ["0"]);
    place.all_idle().await;
}
