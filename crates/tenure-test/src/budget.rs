//! [`Budget`]: leaves a poll so little of tokio's cooperative budget that each resource of tokio suspends once.
//!
//! A future whose socket has its answer already does not suspend there, and cannot be dropped there: on a busy
//! machine several awaits pass in one poll. tokio lets a task whose budget is spent suspend at the next resource
//! though that is ready; so may any await of a resource of tokio. With a budget of one for each poll it happens at
//! each of them, whatever the machine does.
//!
//! # Invariants
//! 1. A poll but the first has at least one unit: a future that makes progress in steps of one goes on.
//! 2. After `POLLS_MAX` polls of a run the budget is whole: a future that needs several units at once ends too.

use std::pin::pin;
use std::task::{Context, Waker};

use tokio::task::coop::{consume_budget, has_budget_remaining};

/// So many polls of a run, besides the first, have a budget of one.
const POLLS_MAX: u32 = 256;
/// More units than any version of tokio gives to a poll.
const UNITS_MAX: u32 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// The units of a whole budget, once they have been counted.
    units: Option<u32>,
    polls: u32,
}

impl Budget {
    /// Leaves one unit to the poll that runs; to the first, nothing.
    pub(crate) fn leave_one(&mut self) {
        let Some(units) = self.units else {
            self.units = Some(spend(UNITS_MAX));
            return;
        };
        if self.polls < POLLS_MAX {
            self.polls += 1;
            spend(units.saturating_sub(1));
        }
    }
}

/// Spends so many units of the budget of the poll that runs, if there are as many; returns how many.
fn spend(units: u32) -> u32 {
    // Woken by nobody: what has budget left is ready at once.
    let mut cx = Context::from_waker(Waker::noop());
    let mut spent = 0;
    while spent < units && has_budget_remaining() {
        let _ = pin!(consume_budget()).poll(&mut cx);
        spent += 1;
    }
    spent
}
