//! Finding the member that serves a get, and going on to another where it does not.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tenure_pool::{GetError, GetErrorKind, Lease};
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep, timeout_at};

use super::Inner;
use super::ask::ask;
use super::board::{Fit, far};
use crate::pool::Connections;
use crate::{Backend, Error};

/// After how long a get that waits for a member's connection has the members asked again.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// A connection, and whose it is.
pub(super) struct Found<DB: Backend> {
    pub(super) lease: Lease<Connections<DB>>,
    pub(super) member: usize,
}

/// Gets a connection to a member that fits.
pub(super) async fn find<DB: Backend>(
    inner: &Arc<Inner<DB>>,
    fit: Fit,
    location: &'static Location<'static>,
) -> Result<Found<DB>, Error> {
    let began = Instant::now();
    let mut deadline = None;
    let mut last = None;
    loop {
        let Some(member) = wait_for(inner, fit, &mut deadline).await else {
            return Err(Error::no_member(fit == Fit::Write, began.elapsed(), last));
        };
        let get = inner.members[member].pool.get_owned_at(location);
        match while_it_fits(inner, member, fit, get).await {
            Some(Ok(lease)) => return Ok(Found { lease, member }),
            Some(Err(error)) if is_unreachable(&error) => {
                inner.board().evict(member);
                inner.changed.notify_waiters();
                // Members that answer when they are asked and fail when they are used keep nobody for ever.
                let limit = inner.terms.failover_timeout;
                if Instant::now() >= *deadline.get_or_insert_with(|| far(Instant::now(), limit)) {
                    return Err(Error::no_member(fit == Fit::Write, began.elapsed(), Some(error)));
                }
                last = Some(error);
            }
            Some(Err(error)) => return Err(Error::not_lent(error)),
            None => {}
        }
    }
}

/// Waits for a member that fits.
pub(super) async fn wait_for_member<DB: Backend>(inner: &Arc<Inner<DB>>, fit: Fit) -> Result<usize, Error> {
    let began = Instant::now();
    let member = wait_for(inner, fit, &mut None).await;
    member.ok_or_else(|| Error::no_member(fit == Fit::Write, began.elapsed(), None))
}

fn is_unreachable(error: &GetError) -> bool {
    matches!(
        error.kind(),
        GetErrorKind::CreateFailing | GetErrorKind::CreatePending | GetErrorKind::CheckPending
    )
}

/// The member that fits; where there is none, members are asked until the deadline, which is set at the first wait.
async fn wait_for<DB: Backend>(
    inner: &Arc<Inner<DB>>,
    fit: Fit,
    deadline: &mut Option<Instant>,
) -> Option<usize> {
    loop {
        // Listen first, look then: a notification between the two is not missed.
        let mut changed = pin!(inner.changed.notified());
        changed.as_mut().enable();
        let (chosen, is_due) = {
            let mut board = inner.board();
            (board.choose(fit), board.is_due(Instant::now(), inner.terms.role_interval))
        };
        if chosen.is_none() || is_due {
            ask(inner);
        }
        if chosen.is_some() {
            return chosen;
        }
        let limit = inner.terms.failover_timeout;
        let deadline = *deadline.get_or_insert_with(|| far(Instant::now(), limit));
        timeout_at(deadline, changed).await.ok()?;
    }
}

/// Awaits a get for as long as its member fits; nothing if it does no longer.
async fn while_it_fits<DB: Backend, T>(
    inner: &Arc<Inner<DB>>,
    member: usize,
    fit: Fit,
    get: impl Future<Output = T>,
) -> Option<T> {
    let mut get = pin!(get);
    // What is served at once needs no timer, and nobody to listen to.
    let at_once = poll_fn(|context| Poll::Ready(get.as_mut().poll(context)));
    if let Poll::Ready(served) = at_once.await {
        return Some(served);
    }
    loop {
        let mut changed = pin!(inner.changed.notified());
        changed.as_mut().enable();
        if !inner.board().fits(member, fit) {
            return None;
        }
        match first(get.as_mut(), changed).await {
            First::Served(served) => return Some(served),
            First::Changed => {}
            First::Late => ask(inner),
        }
    }
}

enum First<T> {
    Served(T),
    Changed,
    Late,
}

async fn first<T>(mut get: Pin<&mut impl Future<Output = T>>, mut changed: Pin<&mut Notified<'_>>) -> First<T> {
    let mut late = pin!(sleep(ASK_AFTER));
    poll_fn(|context| {
        if let Poll::Ready(served) = get.as_mut().poll(context) {
            return Poll::Ready(First::Served(served));
        }
        if changed.as_mut().poll(context).is_ready() {
            return Poll::Ready(First::Changed);
        }
        late.as_mut().poll(context).map(|()| First::Late)
    })
    .await
}
