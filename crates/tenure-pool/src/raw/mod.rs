//! The core of the pool: slots, the stack of idle ones, the waiters, and the claim on a slot.
//!
//! This folder is the only place with `unsafe`; what it exports to the crate is safe to use in any way.
//! It knows nothing of managers, time or creation.
//!
//! # How it works
//! Resources live in *slots*, which never move. The idle ones form a stack, linked by index, whose head
//! is one atomic word `[tag:43 | slow:1 | index:20]`. Taking the top and putting a slot back are one
//! compare-and-swap each, and both are allowed only while the `slow` bit is clear. Whoever holds the lock
//! may set that bit, and then owns the stack alone. A waiter sets it by a compare-and-swap that succeeds
//! only if the stack is empty: from then on every returned slot comes to the lock and is handed to the
//! first waiter, and every newcomer comes to the lock and queues behind it. That a lock-free stack beside
//! a list of waiters is a race does not arise: emptiness and "somebody waits" are one word.
//!
//! # Invariants
//! 1. A slot is vacant, on the stack, or claimed; a claimed slot has exactly one [`Claim`], or its index
//!    lies in exactly one waiter as the served one. Only the owner of the claim touches the resource.
//! 2. A slot that is not vacant owns one strong count of the [`Core`]. A claim thus needs no counted
//!    reference of its own: while it exists, its slot is not vacant, and the core is alive.
//! 3. While the slow bit is set, the head changes only under the lock.
//! 4. The slow bit is set if there is a reason in `Locked::slow`; the queue is not empty only if
//!    [`Slow::WAITERS`] is among the reasons.
//! 5. While a waiter is in the queue it is pinned, and its fields change only under the lock. It is
//!    unlinked before it is freed, else the process aborts.
//! 6. All changes of the head are read-modify-write operations, so that an acquiring one synchronises with
//!    every releasing one before it.
//!
//! # Why this one
//! Measured on 2026-11-22 as bare cores, nanoseconds for a get and return: a stack and a queue behind a mutex 27; a
//! bitmap taken by one compare-and-swap 13, but of 63 slots at most and without an order; this one 14. A queue of
//! 10,000 waiters costs the same in all three. The table is in `BENCHMARKS.md`, the code of the losers in
//! `benches/pool/src/designs`.

#![expect(clippy::needless_pass_by_value, reason = "a claim that is passed on is used up")]

mod claim;
mod core;
mod reuse;
mod slots;
mod waiters;

#[cfg(all(test, tenure_loom))]
mod model;
/// The same models with the threads of `std`: for normal tests, and for miri.
#[cfg(all(test, not(tenure_loom)))]
#[path = "model.rs"]
mod threads;

pub(crate) use self::claim::Claim;
pub(crate) use self::core::{Core, CoreGuard, Slow};
pub(crate) use self::reuse::{Boxed, Exclusive, renew};
pub(crate) use self::slots::Meta;
pub(crate) use self::waiters::{Class, Entry, Served, Waiter};
