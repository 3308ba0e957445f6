//! A basic resource: entered, used, and exited, whichever way the body ends.
//!
//! ```python
//! class Lamp:
//!     async def __aenter__(self):
//!         print("on")
//!         return self
//!
//!     async def __aexit__(self, exc_type, exc, tb):
//!         print("off,", exc_type)
//!
//! async with Lamp() as lamp:
//!     lamp.brightness += 1
//! ```

use std::future::pending;
use std::time::Duration;

use tenure::{AsyncExit, Outcome, drain, with};
use tokio::time::timeout;

#[derive(Debug, PartialEq)]
pub(crate) struct Burnt;

struct Lamp {
    brightness: u32,
}

impl Lamp {
    /// `__aenter__`: any future that yields the resource. It needs no trait.
    async fn on() -> Result<Self, Burnt> {
        println!("on");
        Ok(Self { brightness: 0 })
    }
}

impl AsyncExit for Lamp {
    type Error = Burnt;

    /// `__aexit__`: it has the resource by value, so nobody can use it afterwards.
    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Burnt> {
        println!("off, {outcome:?}");
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Burnt> {
    example().await
}

pub(crate) async fn example() -> Result<(), Burnt> {
    // The body's value comes out. It borrows what is around it.
    let mut seen = vec![];
    let brightness = with(Lamp::on(), async |lamp| {
        lamp.brightness += 7;
        seen.push("light");
        Ok::<_, Burnt>(lamp.brightness)
    })
    .await?;
    assert_eq!((brightness, seen), (7, vec!["light"]));

    // The body's error comes out, after the exit has seen it.
    let burnt = with(Lamp::on(), async |_| Err::<(), _>(Burnt)).await;
    assert_eq!(burnt, Err(Burnt));

    // Python cannot be dropped in mid-air; a future can. The exit runs nevertheless, in the background.
    let endless = with(Lamp::on(), async |_| pending::<Result<(), Burnt>>().await);
    let too_late = timeout(Duration::from_millis(1), endless).await;
    assert!(too_late.is_err());
    let report = drain(Duration::from_secs(1)).await;
    assert!(report.is_clean() && report.ended == 1);
    Ok(())
}
