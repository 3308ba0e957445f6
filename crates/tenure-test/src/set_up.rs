//! [`SetUp`]: makes the state that a proof gives to the future and to the check.
//!
//! # Invariants
//! 1. What is made once for a proof lives on a runtime of the proof's own, which outlives every run.
//! 2. What is made for a run is made and dropped on the runtime of that run.

use std::pin::Pin;
use std::sync::Arc;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Makes the state of one run, on the runtime of the run.
pub(crate) type ForRun<T> = Arc<dyn Fn() -> BoxFuture<Arc<T>> + Send + Sync>;

/// The set-up of a proof.
pub(crate) struct SetUp<T> {
    /// Called once for each proof.
    begin: Arc<dyn Fn() -> BoxFuture<ForRun<T>> + Send + Sync>,
}

impl SetUp<()> {
    /// Nothing to set up.
    pub(crate) fn none() -> ForRun<()> {
        Arc::new(|| Box::pin(std::future::ready(Arc::new(()))))
    }
}

impl<T: Send + Sync + 'static> SetUp<T> {
    /// A state made for each run.
    pub(crate) fn each<F, Fut>(make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let for_run: ForRun<T> = Arc::new(move || {
            let making = make();
            Box::pin(async move { Arc::new(making.await) })
        });
        Self { begin: Arc::new(move || Box::pin(std::future::ready(Arc::clone(&for_run)))) }
    }

    /// A state made once for each proof.
    pub(crate) fn once<F, Fut>(make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let begin = move || -> BoxFuture<ForRun<T>> {
            let making = make();
            Box::pin(async move {
                let state = Arc::new(making.await);
                let for_run: ForRun<T> = Arc::new(move || Box::pin(std::future::ready(Arc::clone(&state))));
                for_run
            })
        };
        Self { begin: Arc::new(begin) }
    }

    /// A further state, made for each run of the one before.
    pub(crate) fn then<U, F, Fut>(self, make: F) -> SetUp<U>
    where
        U: Send + Sync + 'static,
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = U> + Send + 'static,
    {
        let begin_first = self.begin;
        let make = Arc::new(make);
        let begin = move || -> BoxFuture<ForRun<U>> {
            let (beginning, make) = (begin_first(), Arc::clone(&make));
            Box::pin(async move {
                let first = beginning.await;
                let for_run: ForRun<U> = Arc::new(move || {
                    let (first, make) = (first(), Arc::clone(&make));
                    Box::pin(async move { Arc::new(make(first.await).await) })
                });
                for_run
            })
        };
        SetUp { begin: Arc::new(begin) }
    }

    pub(crate) fn begin(&self) -> BoxFuture<ForRun<T>> {
        (self.begin)()
    }
}
