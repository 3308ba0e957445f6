//! The transfer: money leaves one account and reaches another, or nothing happens at all.
//!
//! There is nothing here about cancelling, rolling back or giving back. That is the point.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};
use tenure_sqlx::Transaction;
use tenure_sqlx::pool::PoolExt as _;

use super::connections::Connections;
use super::ledger::{Account, Cents, Ledger};
use crate::panics;
use crate::problem::Problem;

/// An order to move money.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) payer: Account,
    pub(crate) payee: Account,
    /// In cents.
    pub(crate) amount: Cents,
}

/// Moves the money of an order, and yields what the payer has left. With `panics`, it panics half-way.
///
/// When the transaction meets another one in the database, it is done again.
pub(crate) async fn transfer<D: Ledger>(
    connections: &Connections<D>,
    order: &Order,
    panics: bool,
) -> Result<Cents, Refused> {
    order.check()?;
    let attempt = || {
        async |transaction: &mut Transaction<D>| {
            let balance = D::balance(transaction, order.payer).await?;
            let balance = balance.ok_or(Refused::NoAccount(order.payer))?;
            if balance < order.amount {
                return Err(Refused::InsufficientFunds);
            }
            D::add(transaction, order.payer, -order.amount).await?;
            if panics {
                panics::inject();
            }
            if !D::add(transaction, order.payee, order.amount).await? {
                return Err(Refused::NoAccount(order.payee));
            }
            D::record(transaction, order.payer, order.payee, order.amount).await?;
            Ok(balance - order.amount)
        }
    };
    D::to_write(connections.transaction()).run(attempt).await
}

impl Order {
    fn check(&self) -> Result<(), Refused> {
        if self.amount <= 0 {
            Err(Refused::NoAmount)
        } else if self.payer == self.payee {
            Err(Refused::SameAccount)
        } else {
            Ok(())
        }
    }
}

/// Why a transfer was not made.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Nothing, or less, was to be moved.
    NoAmount,
    /// Payer and payee are the same.
    SameAccount,
    /// There is no account of this number.
    NoAccount(Account),
    /// The payer has less than that.
    InsufficientFunds,
    /// The database failed.
    Failed(Problem),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAmount => f.write_str("the amount has to be more than nothing"),
            Self::SameAccount => f.write_str("payer and payee are the same"),
            Self::NoAccount(account) => write!(f, "there is no account {account}"),
            Self::InsufficientFunds => f.write_str("the payer has not enough money"),
            Self::Failed(problem) => problem.fmt(f),
        }
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(problem) => Some(problem),
            _ => None,
        }
    }
}

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
