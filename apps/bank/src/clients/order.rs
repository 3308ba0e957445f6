//! What a client means to do, and what happens to it on the way: all decided by the seed.

use std::time::Duration;

use crate::books::ledger::{ACCOUNTS, Cents};
use crate::books::transfer::Order;

/// What happens to an order on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing. It may still be refused.
    Plain,
    /// The client goes away when its request is suspended for the n-th time.
    Dropped { suspension: u32 },
    /// The client goes away when it has no answer after this time.
    TimedOut { after: Duration },
    /// The client sends half of its request, and goes away after this time.
    HalfSent { after: Duration },
    /// It panics when the money has left one account and has not reached the other.
    Panics,
}

/// The largest amount of an ordinary order: a fifth of what an account begins with.
const AMOUNT_MAX: Cents = 20_000;
/// More than any account can have.
const AMOUNT_OF_A_DREAMER: Cents = 1_000_000_000_000;

const SUSPENSION_MAX: u32 = 2;
const TIMEOUT_MAX_MS: u64 = 20;

/// The order of this number, and its fate.
pub(crate) fn order(seed: u64, number: u64) -> (Order, Fate) {
    let mut random = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let payer = random.i64(1..=ACCOUNTS);
    // Any account but the payer's.
    let payee = (payer + random.i64(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
    let mut order = Order { payer, payee, amount: random.i64(1..=AMOUNT_MAX) };
    let fate = match random.u32(0..100) {
        0..2 => Fate::Dropped { suspension: random.u32(0..SUSPENSION_MAX) },
        2..10 => Fate::TimedOut { after: Duration::from_millis(random.u64(0..=TIMEOUT_MAX_MS)) },
        10..12 => Fate::HalfSent { after: Duration::from_millis(random.u64(0..=TIMEOUT_MAX_MS)) },
        12..16 => Fate::Panics,
        16..20 => {
            order.amount = AMOUNT_OF_A_DREAMER;
            Fate::Plain
        }
        _ => Fate::Plain,
    };
    (order, fate)
}

#[cfg(test)]
mod tests {
    use super::{ACCOUNTS, Fate, order};

    #[test]
    fn a_seed_decides_everything() {
        for number in 0..1_000 {
            let (one, fate) = order(7, number);
            let (other, other_fate) = order(7, number);
            assert_eq!((one.payer, one.payee, one.amount), (other.payer, other.payee, other.amount));
            assert_eq!(fate, other_fate);
        }
    }

    #[test]
    fn orders_are_between_two_accounts_that_exist_and_every_fate_occurs() {
        let mut seen = [0; 5];
        for number in 0..10_000 {
            let (order, fate) = order(1, number);
            assert_ne!(order.payer, order.payee);
            assert!((1..=ACCOUNTS).contains(&order.payer));
            assert!((1..=ACCOUNTS).contains(&order.payee));
            assert!(order.amount > 0);
            seen[match fate {
                Fate::Plain => 0,
                Fate::Dropped { .. } => 1,
                Fate::TimedOut { .. } => 2,
                Fate::HalfSent { .. } => 3,
                Fate::Panics => 4,
            }] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }
}
