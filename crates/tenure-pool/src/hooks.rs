//! Which hooks a manager has.

/// Which hooks of a [`Manager`](crate::Manager) a pool calls. The default is none.
///
/// ```
/// use tenure_pool::Hooks;
///
/// let hooks = Hooks::default().on_return(true);
/// assert_ne!(hooks, Hooks::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hooks {
    pub(crate) on_get: bool,
    pub(crate) on_return: bool,
}

impl Hooks {
    /// Sets whether [`Manager::on_get`](crate::Manager::on_get) is called at each get.
    #[must_use]
    pub const fn on_get(mut self, is_called: bool) -> Self {
        self.on_get = is_called;
        self
    }

    /// Sets whether [`Manager::on_return`](crate::Manager::on_return) is called at each return.
    #[must_use]
    pub const fn on_return(mut self, is_called: bool) -> Self {
        self.on_return = is_called;
        self
    }
}
