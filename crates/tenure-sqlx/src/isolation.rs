//! The isolation levels of the SQL standard.

/// How much of other transactions a transaction may see. Each database gives at least what the level's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are all that the SQL standard has")]
pub enum Isolation {
    /// Also what has not been committed. PostgreSQL gives [`ReadCommitted`](Self::ReadCommitted) instead.
    ReadUncommitted,
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// All statements see what was committed before the first one.
    RepeatableRead,
    /// As if transactions ran one after another. One that would break this fails, and can be run again: see
    /// [`Begin::run`](crate::Begin::run).
    Serializable,
}

impl Isolation {
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "READ UNCOMMITTED",
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}
