//! [`sqlx::Acquire`] for what has a connection, so that functions which are generic over it take a tenure too.

use std::pin::Pin;

use sqlx::{Acquire, Connection as _};

use crate::{Backend, Connection, Savepoint, Transaction};

/// What sqlx's trait returns.
type Boxed<'t, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 't>>;

macro_rules! acquire {
    ($($Resource:ident),*) => {$(
        /// Waits for the connection as `ready` does. A transaction that is begun like this is sqlx's own: its rollback
        /// is queued when it is dropped.
        impl<'t, DB: Backend> Acquire<'t> for &'t mut $Resource<DB> {
            type Database = DB;
            type Connection = &'t mut DB::Connection;

            fn acquire(self) -> Boxed<'t, Self::Connection> {
                Box::pin(async { Ok(self.ready().await?) })
            }

            fn begin(self) -> Boxed<'t, sqlx::Transaction<'t, DB>> {
                Box::pin(async { self.ready().await?.begin().await })
            }
        }
    )*};
}

acquire!(Connection, Transaction, Savepoint);
