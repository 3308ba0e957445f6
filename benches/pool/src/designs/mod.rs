//! The designs of the core that lost, as bare cores: no time limits, no statistics, no leases that own the pool, no
//! creation. What they are compared with is the whole of tenure-pool.

mod bitmap;
mod locked;
mod queue;

pub(crate) use self::bitmap::Bitmap;
pub(crate) use self::locked::Locked;
