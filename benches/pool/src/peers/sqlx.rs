//! sqlx's pool over a driver that does nothing: it can connect, be pinged and be closed, all at once, and knows no
//! queries. What a driver must name besides is [`Never`].

use std::borrow::Cow;
use std::fmt;
use std::future::ready;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use either::Either;
use log::LevelFilter;
use sqlx_core::Url;
use sqlx_core::arguments::Arguments;
use sqlx_core::column::Column;
use sqlx_core::connection::{ConnectOptions, Connection};
use sqlx_core::database::Database;
use sqlx_core::encode::Encode;
use sqlx_core::error::{BoxDynError, Error};
use sqlx_core::pool::{Pool, PoolConnection, PoolOptions};
use sqlx_core::row::Row;
use sqlx_core::sql_str::SqlStr;
use sqlx_core::statement::Statement;
use sqlx_core::transaction::{Transaction, TransactionManager};
use sqlx_core::type_info::TypeInfo;
use sqlx_core::types::Type;
use sqlx_core::value::{Value, ValueRef};

use super::{Peer, Server};

/// The database.
#[derive(Debug)]
pub(crate) struct Null;

#[derive(Debug)]
pub(crate) struct NullConnection(u64);

/// What no query ever makes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Never {}

impl Database for Null {
    type Connection = NullConnection;
    type TransactionManager = Never;
    type Row = Never;
    type QueryResult = Nothing;
    type Column = Never;
    type TypeInfo = Never;
    type Value = Never;
    type ValueRef<'r> = Never;
    type Arguments = Nothing;
    type ArgumentBuffer = ();
    type Statement = Never;
    const NAME: &'static str = "null";
    const URL_SCHEMES: &'static [&'static str] = &["null"];
}

#[derive(Debug, Default)]
pub(crate) struct Nothing;

impl Extend<Self> for Nothing {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, _: I) {}
}

impl Arguments for Nothing {
    type Database = Null;
    fn reserve(&mut self, _: usize, _: usize) {}
    fn add<'t, T: Encode<'t, Null> + Type<Null>>(&mut self, _: T) -> Result<(), BoxDynError> {
        Ok(())
    }
    fn len(&self) -> usize {
        0
    }
}

impl TransactionManager for Never {
    type Database = Null;
    fn begin(_: &mut NullConnection, _: Option<SqlStr>) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        ready(Ok(()))
    }
    fn commit(_: &mut NullConnection) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        ready(Ok(()))
    }
    fn rollback(_: &mut NullConnection) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        ready(Ok(()))
    }
    fn start_rollback(_: &mut NullConnection) {}
    fn get_transaction_depth(_: &NullConnection) -> usize {
        0
    }
}

impl Row for Never {
    type Database = Null;
    fn columns(&self) -> &[Self] {
        match *self {}
    }
    fn try_get_raw<I>(&self, _: I) -> Result<Self, Error>
    where
        I: sqlx_core::column::ColumnIndex<Self>,
    {
        match *self {}
    }
}

impl Column for Never {
    type Database = Null;
    fn ordinal(&self) -> usize {
        match *self {}
    }
    fn name(&self) -> &str {
        match *self {}
    }
    fn type_info(&self) -> &Self {
        match *self {}
    }
}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl TypeInfo for Never {
    fn is_null(&self) -> bool {
        match *self {}
    }
    fn name(&self) -> &str {
        match *self {}
    }
}

impl Value for Never {
    type Database = Null;
    fn as_ref(&self) -> Self {
        match *self {}
    }
    fn type_info(&self) -> Cow<'_, Self> {
        match *self {}
    }
    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl ValueRef<'_> for Never {
    type Database = Null;
    fn to_owned(&self) -> Self {
        match *self {}
    }
    fn type_info(&self) -> Cow<'_, Self> {
        match *self {}
    }
    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl Statement for Never {
    type Database = Null;
    fn into_sql(self) -> SqlStr {
        match self {}
    }
    fn sql(&self) -> &SqlStr {
        match *self {}
    }
    fn parameters(&self) -> Option<Either<&[Self], usize>> {
        match *self {}
    }
    fn columns(&self) -> &[Self] {
        match *self {}
    }
    sqlx_core::impl_statement_query!(Nothing);
}

impl Connection for NullConnection {
    type Database = Null;
    type Options = NullOptions;
    fn close(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        ready(Ok(()))
    }
    fn close_hard(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        ready(Ok(()))
    }
    fn ping(&mut self) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        ready(Ok(()))
    }
    fn begin(&mut self) -> impl Future<Output = Result<Transaction<'_, Null>, Error>> + Send + '_ {
        Transaction::begin(self, None)
    }
    fn shrink_buffers(&mut self) {}
    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        ready(Ok(()))
    }
    fn should_flush(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug)]
pub(crate) struct NullOptions(Arc<Server>);

impl FromStr for NullOptions {
    type Err = Error;
    fn from_str(_: &str) -> Result<Self, Error> {
        Ok(Self(Server::instant()))
    }
}

impl ConnectOptions for NullOptions {
    type Connection = NullConnection;
    fn from_url(_: &Url) -> Result<Self, Error> {
        Ok(Self(Server::instant()))
    }
    async fn connect(&self) -> Result<NullConnection, Error> {
        let connected = self.0.connect().await;
        // Refused: what sqlx tries again until its time limit.
        let refused = |_| Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        connected.map(NullConnection).map_err(refused)
    }
    fn log_statements(self, _: LevelFilter) -> Self {
        self
    }
    fn log_slow_statements(self, _: LevelFilter, _: Duration) -> Self {
        self
    }
}

#[derive(Clone)]
pub(crate) struct Sqlx(Pool<Null>);

impl Peer for Sqlx {
    const NAME: &'static str = "sqlx 0.9";
    type Lease = PoolConnection<Null>;
    type Error = Error;

    fn new(size: usize, server: Arc<Server>, _: bool) -> Self {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let options = PoolOptions::new().max_connections(size);
        Self(options.connect_lazy_with(NullOptions(server)))
    }

    fn get(&self) -> impl Future<Output = Result<Self::Lease, Error>> + Send {
        self.0.acquire()
    }

    fn touch(lease: &mut Self::Lease) {
        lease.0 += 1;
    }
}
