//! Law 28: one lend.
use tenure::{Lender, NeverLent, context};

fn main() {
    let _ = context(async |lender: Lender<u8>| {
        lender.lend(1).await;
        lender.lend(2).await;
        Ok::<_, NeverLent>(())
    });
}
