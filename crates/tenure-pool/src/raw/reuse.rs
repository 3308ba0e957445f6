//! A boxed future whose memory serves the next one, and a wrapper that makes anything `Sync`.

use std::alloc::Layout;
use std::future::Future;
use std::pin::Pin;

/// A boxed future.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Boxes a future, in the memory of an old one if that has the same layout.
pub(crate) fn renew<T, F>(old: Option<Boxed<T>>, future: F) -> Boxed<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let Some(old) = old.filter(|old| Layout::for_value(&**old) == Layout::new::<F>()) else {
        return Box::pin(future);
    };
    // SAFETY:
    // - The old future is not moved: it is dropped where it lies, which is what a pin demands.
    // - Its memory came from a box of the same layout, so it may hold an `F`, and be freed as a `Box<F>`.
    // - If its destructor panics, the memory is leaked, and nothing is freed twice: no box owns it then.
    unsafe {
        let raw = Box::into_raw(Pin::into_inner_unchecked(old));
        raw.drop_in_place();
        let place = raw.cast::<F>();
        place.write(future);
        Box::into_pin(Box::from_raw(place))
    }
}

/// A value that is reached only exclusively, and so may be shared whatever it is.
pub(crate) struct Exclusive<T>(T);

// SAFETY: a shared reference gives no access to the value.
unsafe impl<T> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(all(test, not(tenure_loom)))]
mod tests {
    use std::future::{pending, ready};
    use std::rc::Rc;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: &mut Boxed<T>) -> Poll<T> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_memory_is_used_again_and_the_old_future_dropped() {
        let held = Arc::new(());
        let make = |held: Arc<()>| async move {
            let _held = held;
            pending::<u32>().await
        };
        let first = renew(None, make(Arc::clone(&held)));
        let address = (&raw const *first).addr();
        assert_eq!(Arc::strong_count(&held), 2);
        let second = renew(Some(first), make(Arc::clone(&held)));
        assert_eq!((&raw const *second).addr(), address);
        assert_eq!(Arc::strong_count(&held), 2);
        let mut other = renew(Some(second), ready(7));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(poll(&mut other), Poll::Ready(7));
    }

    #[test]
    fn what_is_exclusive_may_be_shared() {
        fn is_sync<T: Sync>(_: &T) {}
        let mut exclusive = Exclusive::new(Rc::new(1));
        is_sync(&exclusive);
        assert_eq!(**exclusive.get_mut(), 1);
    }
}
