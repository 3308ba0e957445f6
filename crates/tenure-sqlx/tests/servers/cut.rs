//! The session is killed, or the wire is cut without a word: the error says what happened, and the connection is closed.

use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::with;
use tenure_sqlx::{Fate, Stage};

use crate::common::{Place, Witness, note, on_both_servers};
use crate::failure::Failure;
use crate::proxy::{Proxy, Trap};
use crate::server::Server;

on_both_servers!(
    a_session_that_is_killed_in_the_body,
    a_session_that_is_killed_before_the_commit,
    a_begin_that_is_lost,
    a_commit_whose_answer_is_lost,
    a_commit_that_is_lost,
    a_rollback_that_is_lost,
);

/// Collects what is reported on this runtime from now on.
fn incidents() -> Arc<Mutex<Vec<String>>> {
    let incidents = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&incidents);
    tenure::set_report_sink(move |incident| sink.lock().unwrap().push(incident.to_string()));
    incidents
}

#[track_caller]
fn assert_rollback_failed(incidents: &Mutex<Vec<String>>) {
    let incidents = incidents.lock().unwrap();
    let [incident] = incidents.as_slice() else { panic!("{incidents:?}") };
    assert!(incident.contains("stage: Rollback"), "{incident}");
}

const SOON: Duration = Duration::from_millis(300);

async fn kill<S: Server>(session: &[String]) {
    let [session] = session else { panic!("{session:?}") };
    let mut witness = Witness::<S>::look().await;
    S::execute(&mut witness.0, &S::kill(session)).await.unwrap();
}

async fn a_session_that_is_killed_in_the_body<S: Server>(place: &Place<S>) {
    let incidents = incidents();
    let mut connection = place.connect().await;
    let failure = with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "lost").await?;
        let session = S::texts(transaction, S::session()).await?;
        kill::<S>(&session).await;
        place.no_session_left().await;
        note::<S>(transaction, "more").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err();
    // What comes out is what the statement met; that the rollback failed too is in the report.
    assert!(matches!(failure, Failure::Statement(_)), "{failure:?}");
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    assert!(place.notes().await.is_empty());
    assert_rollback_failed(&incidents);
}

async fn a_session_that_is_killed_before_the_commit<S: Server>(place: &Place<S>) {
    let mut connection = place.connect().await;
    let error = with(connection.transaction(), async |transaction| {
        note::<S>(transaction, "lost").await?;
        let session = S::texts(transaction, S::session()).await?;
        kill::<S>(&session).await;
        place.no_session_left().await;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    // The commit was never sent, so its fate is known.
    assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Undone)));
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    assert!(place.notes().await.is_empty());
}

async fn wired<S: Server>(place: &Place<S>) -> (Proxy, tenure_sqlx::Connection<S::Db>) {
    let options = place.options();
    let proxy = Proxy::to(S::port(&options)).await;
    let connection = S::connect(S::through(options, proxy.port())).await.unwrap();
    (proxy, connection)
}

/// Checks that the error says that the server is silent.
#[track_caller]
fn assert_silence(error: &tenure_sqlx::Error) {
    let source = error.source().unwrap();
    let root = source.source().unwrap_or(source).to_string();
    assert!(root.contains("did not answer within 300ms"), "{error}: {root}");
}

async fn a_begin_that_is_lost<S: Server>(place: &Place<S>) {
    let (proxy, mut connection) = wired(place).await;
    proxy.set(S::BEGIN, Trap::LoseAnswer);
    let begin = connection.transaction().answer_limit(SOON);
    let error =
        with(begin, async |_transaction| Err::<(), _>(Failure::Refused)).await.unwrap_err().into_tenure();
    assert_eq!((error.stage(), error.fate()), (Stage::Begin, Some(Fate::Undone)));
    assert_silence(&error);
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    place.no_session_left().await;
}

async fn a_commit_whose_answer_is_lost<S: Server>(place: &Place<S>) {
    let (proxy, mut connection) = wired(place).await;
    proxy.set("COMMIT", Trap::LoseAnswer);
    let error = with(connection.transaction().answer_limit(SOON), async |transaction| {
        note::<S>(transaction, "kept").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)));
    assert_eq!(
        error.to_string(),
        "committing the transaction failed; whether the changes were kept is unknown"
    );
    assert_silence(&error);
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    place.no_session_left().await;
    // Indeed.
    assert_eq!(place.notes().await, ["kept"]);
}

async fn a_commit_that_is_lost<S: Server>(place: &Place<S>) {
    let (proxy, mut connection) = wired(place).await;
    // In capitals it is the `COMMIT` itself, not the savepoint of the question before it.
    proxy.set("COMMIT", Trap::LoseStatement);
    let error = with(connection.transaction().answer_limit(SOON), async |transaction| {
        note::<S>(transaction, "lost").await?;
        Ok::<_, Failure>(())
    })
    .await
    .unwrap_err()
    .into_tenure();
    assert_eq!((error.stage(), error.fate()), (Stage::Commit, Some(Fate::Unknown)));
    assert_silence(&error);
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    place.no_session_left().await;
    assert!(place.notes().await.is_empty());
}

async fn a_rollback_that_is_lost<S: Server>(place: &Place<S>) {
    let incidents = incidents();
    let (proxy, mut connection) = wired(place).await;
    proxy.set("ROLLBACK", Trap::LoseStatement);
    let failure = with(connection.transaction().answer_limit(SOON), async |transaction| {
        note::<S>(transaction, "lost").await?;
        Err::<(), _>(Failure::Refused)
    })
    .await
    .unwrap_err();
    assert!(matches!(failure, Failure::Refused));
    assert_rollback_failed(&incidents);
    assert!(connection.ready().await.is_err_and(|error| error.is_closed()));
    place.no_session_left().await;
    assert!(place.notes().await.is_empty());
}
