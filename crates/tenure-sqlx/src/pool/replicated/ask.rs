//! Asking the members for their roles.
//!
//! # Invariants
//! 1. A round that is dropped, with its runtime or by a panic in a rule, leaves the board as one that has ended: the next
//!    get begins another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tenure_pool::{GetErrorKind, Lease, Priority};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout};

use super::board::{Answer, far};
use super::{Inner, Member, Role, join_all};
use crate::pool::Connections;
use crate::{Backend, Connection};

/// What a round may take besides the limits of its questions, before it is taken for dead.
const ROUND_SLACK: Duration = Duration::from_secs(1);

/// A round under way.
struct Round<DB: Backend> {
    inner: Arc<Inner<DB>>,
    has_ended: bool,
}

impl<DB: Backend> Drop for Round<DB> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.inner.board().give_up_round(Instant::now());
            self.inner.changed.notify_waiters();
        }
    }
}

/// Has the members asked in the background, unless they are being asked.
pub(super) fn ask<DB: Backend>(inner: &Arc<Inner<DB>>) {
    let Ok(runtime) = Handle::try_current() else { return };
    let limit = inner.terms.role_timeout.saturating_mul(2).saturating_add(ROUND_SLACK);
    // What begins later than now by the pause ends in time as well.
    let limit = far(Instant::now(), limit).saturating_duration_since(Instant::now());
    let Some(at) = inner.board().begin_round(Instant::now(), limit) else { return };
    let round = Round { inner: Arc::clone(inner), has_ended: false };
    drop(runtime.spawn(run(round, at)));
}

async fn run<DB: Backend>(mut round: Round<DB>, at: Instant) {
    sleep_until(at).await;
    let inner = Arc::clone(&round.inner);
    // What is learnt of a member while it is asked counts more than its answer.
    let turns = inner.board().turns();
    let questions = inner.members.iter().map(|member| ask_one(&inner, member)).collect();
    let answers = join_all(questions).await;
    let changes = inner.board().end_round(Instant::now(), &turns, &answers);
    round.has_ended = true;
    if changes.is_failover {
        inner.failovers.fetch_add(1, Ordering::Relaxed);
    }
    for member in changes.replaced {
        inner.members[member].pool.invalidate_all();
    }
    inner.changed.notify_waiters();
}

/// Asks one member, on a connection of its pool.
async fn ask_one<DB: Backend>(inner: &Inner<DB>, member: &Member<DB>) -> Answer {
    let limit = inner.terms.role_timeout;
    let get = member.pool.get().priority(Priority::High).timeout(limit);
    let mut lease = match get.await {
        Ok(lease) => lease,
        Err(error) => {
            return match error.kind() {
                GetErrorKind::CreateFailing
                | GetErrorKind::CreatePending
                | GetErrorKind::CheckPending
                | GetErrorKind::Closed => Answer::Unreachable,
                _ => Answer::NoNews,
            };
        }
    };
    match timeout(limit, without_panic(role(inner, &mut lease))).await {
        Ok(Some(Ok(role))) => {
            lease.complete();
            Answer::Role(role)
        }
        // It is dropped, and cleaned.
        Ok(Some(Err(_)) | None) | Err(_) => Answer::Unreachable,
    }
}

async fn role<DB: Backend>(inner: &Inner<DB>, lease: &mut Lease<Connections<DB>>) -> Result<Role, sqlx::Error> {
    let connection: &mut Connection<DB> = lease;
    if let Some(rule) = &inner.terms.role_by {
        let connection = connection.ready().await?;
        return rule(connection).await;
    }
    let holder = connection.holder_mut();
    let (raw, _) = holder.in_reach()?;
    let role = DB::role(raw).await;
    holder.note(role)
}

/// Catches a panic of a user's rule.
async fn without_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_panic) => Poll::Ready(None),
    })
    .await
}
