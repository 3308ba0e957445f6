//! What the user tells the pool about the resource: how to make it, check it, clean it and close it.

use std::error::Error;
use std::future::{self, Future};
use std::time::Duration;

use tenure::Failure;

use crate::hooks::Hooks;

/// Any error, as the pool keeps it.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// How the pool makes, checks, cleans and closes its resources.
///
/// `create` and `reset` have to be written; the rest have defaults that do nothing. `reset` has none
/// because there is none that is right: a resource whose last use was cancelled half-way may be in the
/// middle of a transaction or of a reply, and the pool never lends such a one again without a reset. A
/// manager that cannot clean its resource returns an error from `reset`, and the pool closes it.
///
/// Each of the four has a time limit of its own, set at the [builder](crate::Builder). All run as tasks of
/// the pool, except for a check on checkout, which runs in the `get` that asked for it. A panic in one of
/// them counts as its failure.
///
/// ```
/// use tenure_pool::{Context, CreateContext, Manager};
///
/// struct Numbers;
///
/// impl Manager for Numbers {
///     type Resource = u64;
///     type Error = std::io::Error;
///
///     async fn create(&self, context: CreateContext) -> Result<u64, Self::Error> {
///         Ok(context.id)
///     }
///
///     async fn reset(&self, number: &mut u64, _: Context) -> Result<(), Self::Error> {
///         *number = 0;
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a manager of a pool",
    note = "implement `tenure_pool::Manager` with `create` and `reset`"
)]
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Resource: Send + 'static;
    /// What can go wrong: any error, also `anyhow::Error`, `BoxError`, `String`.
    type Error: Into<BoxError> + Send + 'static;

    /// Makes a resource.
    ///
    /// # Cancel safety
    /// The caller of `get` does not own this future: a cancelled get wastes no connect. It runs on the runtime of the
    /// get that needs it, and is dropped only when its time limit ends, with the runtime, or when the pool closes and it
    /// has been running for more than a second, and more than three times as long as the last one that succeeded.
    fn create(
        &self,
        context: CreateContext,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Cleans a resource whose last use did not complete, so that it can be lent again.
    ///
    /// # Errors
    /// The resource is closed.
    fn reset(
        &self,
        resource: &mut Self::Resource,
        context: Context,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Finds out whether a resource is still good. The default says yes.
    ///
    /// # Errors
    /// The resource is closed, and those that have been idle for longer are checked before they are lent.
    fn check(
        &self,
        resource: &mut Self::Resource,
        context: Context,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, context);
        future::ready(Ok(()))
    }

    /// Closes a resource in an orderly way. The default drops it.
    ///
    /// Resources are closed side by side. Where each close has to see what the one before it has done, as with SQLite,
    /// whose last connection clears its log away, the manager lets them take turns.
    ///
    /// When the time limit ends, the future is dropped, and the resource's own `Drop` is the forceful close.
    ///
    /// # Errors
    /// The resource counts as closed; the error is an [event](crate::Event).
    fn close(
        &self,
        resource: Self::Resource,
        context: Context,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = context;
        drop(resource);
        future::ready(Ok(()))
    }

    /// Returns which hooks of this manager are to be called. The default is none of them, which costs nothing.
    ///
    /// Called once, when the pool is built.
    fn hooks(&self) -> Hooks {
        Hooks::default()
    }

    /// Runs at each get, after the check if there is one, before the resource is lent: to set a session up for its user.
    ///
    /// Called only if [`hooks`](Self::hooks) says so. The check timeout limits it and the check together.
    ///
    /// # Errors
    /// The resource is closed, and the get takes another one.
    fn on_get(
        &self,
        resource: &mut Self::Resource,
        context: Context,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, context);
        future::ready(Ok(()))
    }

    /// Runs at each return of a resource that stays in the pool, before anybody else has it: also after a use that
    /// completed, and after the reset or check of one that did not.
    ///
    /// Called only if [`hooks`](Self::hooks) says so. It runs in the background; the reset timeout limits it.
    ///
    /// # Errors
    /// The resource is closed.
    fn on_return(
        &self,
        resource: &mut Self::Resource,
        context: Context,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, context);
        future::ready(Ok(()))
    }

    /// Returns `true` if a resource has found out during a use that completed that it is of no more use: a connection that was
    /// closed under a body which made do without it. It is closed then, and not lent again. The default says no.
    ///
    /// Asked at each return of a completed use, so it must cost little, and not block. If it panics, the resource is
    /// closed.
    #[inline]
    fn is_broken(&self, resource: &Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Decides at once what becomes of a resource whose use completed. The default is [`Next::Close`] if it
    /// [is broken](Self::is_broken), else [`Next::Keep`].
    ///
    /// This is the place to ask for a check in the background before anybody else has the resource:
    /// [`Next::Check`] and [`Next::Reset`] are done with [`Why::Returned`]. It is asked on every path on which a
    /// completed use ends, and of what is [added](crate::Pool::add), so it must cost little, and not block. If it
    /// panics, the resource is closed.
    #[inline]
    fn assess_completed(&self, resource: &mut Self::Resource) -> Next {
        if self.is_broken(resource) { Next::Close } else { Next::Keep }
    }

    /// Decides at once what becomes of a resource whose lease did not end with a completed body. The default
    /// is [`Next::Reset`].
    ///
    /// This is the place for what the resource knows of itself, such as "no request is in flight", and for
    /// looking at the error. It must not block. A lease that was merely dropped says
    /// [`LeaseEnd::Dropped`]: nobody can tell whether the code that held it had ended or was cancelled. If
    /// that can do no harm to the resource, answer `Next::Keep`; the return then costs nanoseconds.
    fn assess(&self, resource: &mut Self::Resource, end: LeaseEnd<'_>) -> Next {
        let _ = (resource, end);
        Next::Reset
    }

    /// Returns `true` if it is of no use to try `create` again after this error: a wrong password, not a refused
    /// connection. The default says no.
    ///
    /// If no resource is alive that could serve them, those who wait are failed at once instead of at their
    /// timeout.
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// What `create` is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CreateContext {
    /// The number of the resource to be, unique in the pool, from 1.
    pub id: u64,
    /// Number of creates that have failed in a row before this one.
    pub failures: u32,
}

impl CreateContext {
    pub(crate) fn new(id: u64, failures: u32) -> Self {
        Self { id, failures }
    }
}

/// What `check`, `reset` and `close` are told of the resource.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The number of the resource.
    pub id: u64,
    /// Why this is done.
    pub why: Why,
    /// The time since it was created.
    pub age: Duration,
    /// The time since it was last returned, or taken. To the pool's coarse clock, an eighth of a second.
    pub idle: Duration,
    /// Number of times that it has been lent.
    pub uses: u64,
}

/// Why a resource is checked, reset or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It is about to be lent and was idle for longer than the bound, or every checkout is checked.
    Checkout,
    /// It is idle, and this keeps it alive.
    KeepAlive,
    /// Another one failed its check, or the runtime it was made on is gone, so this one is suspect.
    Suspect,
    /// It was given back after a use that completed, or was added: for [`Manager::on_return`], and for what
    /// [`Manager::assess_completed`] asks for.
    Returned,
    /// The body that used it failed.
    Failed,
    /// The body that used it panicked.
    Panicked,
    /// The body that used it was cancelled.
    Cancelled,
    /// Its lease was dropped without a word.
    Dropped,
    /// Its use completed, and [`Manager::assess_completed`] said that it is of no more use, or panicked.
    Broken,
    /// Its check failed.
    CheckFailed,
    /// Its reset failed.
    ResetFailed,
    /// A hook failed, on a get or on its return.
    HookFailed,
    /// It lived for as long as it may.
    Lifetime,
    /// It was idle for as long as it may, or there were more than needed.
    Idle,
    /// The pool was told to invalidate all, or this one.
    Invalidated,
    /// [`Pool::retain`](crate::Pool::retain) did not keep it.
    NotRetained,
    /// The pool was made smaller.
    Excess,
    /// It made room for another key of a keyed pool.
    Evicted,
    /// It made room for a get on another runtime than the one it was made on.
    OtherRuntime,
    /// The pool keeps no idle resources.
    NotPooled,
    /// The pool closes.
    PoolClosed,
}

/// How a lease ended that did not end with a completed body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum LeaseEnd<'a> {
    /// The body returned this error.
    Failed(Failure<'a>),
    /// The body panicked with this message, or the lease was dropped while the thread was unwinding.
    Panicked(&'a str),
    /// The body was cancelled.
    Cancelled,
    /// The lease was dropped; whether its holder had done its work is not known.
    Dropped,
}

impl LeaseEnd<'_> {
    pub(crate) fn why(self) -> Why {
        match self {
            Self::Failed(_) => Why::Failed,
            Self::Panicked(_) => Why::Panicked,
            Self::Cancelled => Why::Cancelled,
            Self::Dropped => Why::Dropped,
        }
    }
}

/// What becomes of a resource after a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Next {
    /// It is clean: lend it again at once.
    Keep,
    /// [`Manager::check`] decides, in the background.
    Check,
    /// [`Manager::reset`] cleans it, in the background.
    Reset,
    /// Close it, in the background.
    Close,
}
