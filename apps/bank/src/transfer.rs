//! The transfer: money leaves one account and reaches another, or nothing happens at all.
//!
//! There is nothing here about cancelling, rolling back or giving back. That is the point.

use tenure::with;

use crate::account::{self, Account, Cents};
use crate::connections::Connections;
use crate::order::{Fate, Order};
use crate::panics;
use crate::problem::Problem;

/// Moves the money of an order.
pub(crate) async fn transfer(connections: &Connections, order: &Order, fate: Fate) -> Result<(), Refused> {
    with(connections.get(), async |connection| {
        with(connection.transaction().immediate(), async |transaction| {
            let balance = account::balance(transaction, order.payer).await?;
            if balance < order.amount {
                return Err(Refused::InsufficientFunds { payer: order.payer, missing: order.amount - balance });
            }
            account::add(transaction, order.payer, -order.amount).await?;
            if fate == Fate::Panics {
                panics::inject();
            }
            account::add(transaction, order.payee, order.amount).await?;
            account::record(transaction, order.payer, order.payee, order.amount).await?;
            Ok(())
        })
        .await
    })
    .await
}

/// Why a transfer was not made.
#[derive(Debug)]
pub(crate) enum Refused {
    /// By the rules of business.
    InsufficientFunds {
        #[expect(dead_code, reason = "for those who read reports")]
        payer: Account,
        #[expect(dead_code, reason = "for those who read reports")]
        missing: Cents,
    },
    /// By the database.
    Failed(Problem),
}

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
