//! The auto traits of what is public.

use tenure_sqlx::sqlite::{Connect, Connection, Savepoint, Transaction};
use tenure_sqlx::{Begin, Error, SetSavepoint};

fn assert_send<T: Send>() {}
fn assert_error<T: std::error::Error + Send + Sync + 'static>() {}

#[test]
fn resources_contexts_and_errors_cross_threads() {
    assert_send::<Connection>();
    assert_send::<Transaction>();
    assert_send::<Savepoint>();
    assert_send::<Connect>();
    assert_send::<<Connect as IntoFuture>::IntoFuture>();
    assert_send::<Begin<'_, sqlx::Sqlite>>();
    assert_send::<<Begin<'_, sqlx::Sqlite> as IntoFuture>::IntoFuture>();
    assert_send::<SetSavepoint<'_, sqlx::Sqlite>>();
    assert_error::<Error>();
}
