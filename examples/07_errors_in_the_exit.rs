//! Errors in the exit: looked at, suppressed, translated.
//!
//! ```python
//! class Watch:
//!     async def __aexit__(self, exc_type, exc, tb):
//!         if exc_type is NotFound:
//!             return True                        # suppressed
//!         if exc_type is DiskError:
//!             raise Unavailable from exc         # translated
//!         log(exc)                               # looked at, goes on
//! ```
//!
//! A `return True` is easy to overlook; here the type tells: `with_recovering` yields an `Option`. No exit puts
//! its error in the place of the body's: `with_detailed` hands out both, and a function translates them.

use tenure::{AsyncExit, Outcome, RecoverExit, Verdict, WithError, with, with_detailed, with_recovering};
use tokio::task::yield_now;

#[derive(Debug, PartialEq)]
enum Error {
    NotFound,
    Disk(u32),
}

/// Looks at the error, which goes on as it is.
struct Watch;

impl AsyncExit for Watch {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<(), Error> {
        yield_now().await;
        // The very error, found by its type.
        if let Some(Error::Disk(number)) = outcome.error() {
            println!("disk {number} fails");
        }
        Err(Error::NotFound)
    }
}

/// Suppresses one error and lets the others go on.
struct IgnoreNotFound;

impl RecoverExit for IgnoreNotFound {
    type Error = Error;

    async fn exit(self, outcome: Outcome<'_>) -> Result<Verdict, Error> {
        match outcome.error() {
            Some(Error::NotFound) => Ok(Verdict::Recover),
            _ => Ok(Verdict::Propagate),
        }
    }
}

fn translate(error: WithError<Error, Error, Error>) -> String {
    match error {
        WithError::Body { error, exit: Some(exit) } => format!("unavailable: {error:?}; {exit:?}"),
        other => format!("unavailable: {other}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    example().await;
}

pub(crate) async fn example() {
    tenure::set_report_sink(|incident| println!("reported: {}", incident.message));

    let watch = async || Ok::<_, Error>(Watch);
    let seen = with(watch(), async |_| Err::<(), _>(Error::Disk(1))).await;
    assert_eq!(seen, Err(Error::Disk(1)));

    let ignore = async || Ok::<_, Error>(IgnoreNotFound);
    let some = with_recovering(ignore(), async |_| Ok::<_, Error>(7)).await;
    let none = with_recovering(ignore(), async |_| Err::<u32, _>(Error::NotFound)).await;
    assert_eq!((some, none), (Ok(Some(7)), Ok(None)));

    let both = with_detailed(watch(), async |_| Err::<(), _>(Error::Disk(2))).await;
    println!("{}", both.map_err(translate).expect_err("both failed"));
}
