//! Contexts written as one function: set up, lend, clean up. Python's `@asynccontextmanager`.

mod context;
mod lender;

pub use context::{Lent, LentRecovering, context, context_recovering};
pub use lender::{Ended, Lender, NeverLent, Returned};
