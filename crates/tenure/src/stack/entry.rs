//! The kinds of exit that lie on a stack, as one.

use std::pin::Pin;

use crate::{AsyncExit, ExitFuture, Outcome, RecoverExit, Verdict};

pub(super) type WayFuture<'o, E> = Pin<Box<dyn Future<Output = Result<Verdict, E>> + Send + 'o>>;

/// One exit.
pub(super) trait Way<E: 'static>: Send + 'static {
    fn exit<'o>(self: Box<Self>, outcome: Outcome<'o>) -> WayFuture<'o, E>;
}

pub(super) struct PlainEntry<R>(pub(super) R);

impl<R: AsyncExit, E: From<R::Error> + 'static> Way<E> for PlainEntry<R> {
    fn exit<'o>(self: Box<Self>, outcome: Outcome<'o>) -> WayFuture<'o, E> {
        Box::pin(async move {
            self.0.exit(outcome).await?;
            Ok(Verdict::Propagate)
        })
    }
}

pub(super) struct RecoveringEntry<R>(pub(super) R);

impl<R: RecoverExit, E: From<R::Error> + 'static> Way<E> for RecoveringEntry<R> {
    fn exit<'o>(self: Box<Self>, outcome: Outcome<'o>) -> WayFuture<'o, E> {
        Box::pin(async move { Ok(self.0.exit(outcome).await?) })
    }
}

pub(super) struct SyncCallback<F>(pub(super) F);

impl<F: FnOnce() + Send + 'static, E: 'static> Way<E> for SyncCallback<F> {
    fn exit<'o>(self: Box<Self>, _: Outcome<'o>) -> WayFuture<'o, E> {
        Box::pin(async move {
            (self.0)();
            Ok(Verdict::Propagate)
        })
    }
}

pub(super) struct Callback<F>(pub(super) F);

impl<F, Fut, E: 'static> Way<E> for Callback<F>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
{
    fn exit<'o>(self: Box<Self>, _: Outcome<'o>) -> WayFuture<'o, E> {
        Box::pin(async move {
            (self.0)().await?;
            Ok(Verdict::Propagate)
        })
    }
}

pub(super) struct OutcomeCallback<F>(pub(super) F);

impl<F, E: 'static> Way<E> for OutcomeCallback<F>
where
    F: for<'o> FnOnce(Outcome<'o>) -> ExitFuture<'o, E> + Send + 'static,
{
    fn exit<'o>(self: Box<Self>, outcome: Outcome<'o>) -> WayFuture<'o, E> {
        Box::pin(async move {
            (self.0)(outcome).await?;
            Ok(Verdict::Propagate)
        })
    }
}
