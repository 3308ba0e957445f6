//! The designs of the core that were tried, as bare cores: no time limits, no statistics, no leases that own the pool, no
//! creation, and a get that is cancelled loses what it was handed. The last is the one that was chosen.

mod bitmap;
mod gated;
mod locked;
mod queue;
mod stack;

pub(crate) use self::bitmap::Bitmap;
pub(crate) use self::gated::Gated;
pub(crate) use self::locked::Locked;
pub(crate) use self::stack::Stack;
