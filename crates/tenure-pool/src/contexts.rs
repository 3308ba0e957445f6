//! A manager made of a context: a create enters it, a close exits it.

use std::fmt;
use std::future::{Future, IntoFuture};

use tenure::{AsyncExit, Outcome};

use crate::builder::Builder;
use crate::manager::{BoxError, Context, CreateContext, LeaseEnd, Manager, Next};
use crate::pool::Pool;

type Check<R> = dyn Fn(&R) -> bool + Send + Sync;

/// A [`Manager`] of any context: creating enters it, closing exits it as completed. Made by [`Pool::of`].
///
/// A resource whose use did not complete is closed, for nothing is known of how to clean it. What
/// [`good_while`](Builder::good_while) says is asked at each return and check.
pub struct Contexts<F, R> {
    enter: F,
    is_good: Option<Box<Check<R>>>,
}

impl<F, R> fmt::Debug for Contexts<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contexts").finish_non_exhaustive()
    }
}

impl<F, C, R, N> Manager for Contexts<F, R>
where
    F: Fn() -> C + Send + Sync + 'static,
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: AsyncExit,
    N: Into<BoxError> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Resource = R;
    type Error = BoxError;

    async fn create(&self, _: CreateContext) -> Result<R, BoxError> {
        (self.enter)().into_future().await.map_err(Into::into)
    }

    async fn reset(&self, _: &mut R, _: Context) -> Result<(), BoxError> {
        Err("a context is not reset".into())
    }

    fn check(&self, resource: &mut R, _: Context) -> impl Future<Output = Result<(), BoxError>> + Send {
        let is_broken = self.is_broken(resource);
        async move { if is_broken { Err("the resource is not good any more".into()) } else { Ok(()) } }
    }

    async fn close(&self, resource: R, _: Context) -> Result<(), BoxError> {
        resource.exit(Outcome::Completed).await.map_err(Into::into)
    }

    fn is_broken(&self, resource: &R) -> bool {
        self.is_good.as_ref().is_some_and(|is_good| !is_good(resource))
    }

    fn assess(&self, _: &mut R, _: LeaseEnd<'_>) -> Next {
        Next::Close
    }
}

impl<F, C, R, N> Pool<Contexts<F, R>>
where
    F: Fn() -> C + Send + Sync + 'static,
    C: IntoFuture<Output = Result<R, N>, IntoFuture: Send> + Send,
    R: AsyncExit,
    N: Into<BoxError> + Send + 'static,
    R::Error: Into<BoxError>,
{
    /// Sets up a pool of any context, without a manager of one's own: the function makes a context, a create enters it,
    /// and a close exits it as completed.
    ///
    /// A lease whose use did not complete, by an error, a panic, a cancel or a bare drop, is closed, not reset: end a use
    /// by [`with`](tenure::with) or [`Lease::complete`](crate::Lease::complete). To reset resources, write a [`Manager`].
    ///
    /// ```
    /// use tenure::{closing, with};
    /// use tenure_pool::{Pool, PoolError};
    ///
    /// async fn open() -> std::io::Result<Vec<u8>> {
    ///     Ok(Vec::new())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let buffers = Pool::of(|| closing(open(), async |buffer: Vec<u8>| {
    ///     drop(buffer);
    ///     Ok::<_, std::io::Error>(())
    /// }))
    /// .max_size(4)
    /// .build()?;
    /// with(buffers, async |buffers| {
    ///     with(buffers.get(), async |buffer| {
    ///         buffer.push(1);
    ///         Ok::<_, PoolError>(())
    ///     })
    ///     .await
    /// })
    /// .await?;
    /// # Ok(()) }
    /// ```
    pub fn of(enter: F) -> Builder<Contexts<F, R>> {
        Pool::builder(Contexts { enter, is_good: None })
    }
}

impl<F, R> Builder<Contexts<F, R>> {
    /// Asks this of a resource at each completed return and at each check; one that is not good is closed. Default: all
    /// are good.
    pub fn good_while(mut self, is_good: impl Fn(&R) -> bool + Send + Sync + 'static) -> Self {
        self.manager.is_good = Some(Box::new(is_good));
        self
    }
}
