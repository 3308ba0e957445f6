//! The laws, each with the tests that fail when it is broken: see `tests/README.md` for which is where.
//!
//! The numbers behind `law_` are those of the laws, the ones behind `b` those of the behaviours that other systems
//! assert in their tests.
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]
#![expect(
    clippy::unit_arg,
    reason = "`Ok::<_, Error>(what_it_does())` is the shortest body that names its error"
)]

mod auto_traits;
mod begun;
mod cancellation;
mod compile_fail;
mod drain;
mod enter_body_exit;
mod exit_goes_wrong;
mod generator;
mod group;
mod held;
mod hostile;
mod inline;
mod join;
#[cfg(unix)]
mod lifecycle;
mod loss;
mod matrix;
mod order;
mod places;
mod primitives;
mod recovering;
mod registry;
mod stack;
mod stack_by_hand;
mod stack_memory;
mod stop;
mod support;
