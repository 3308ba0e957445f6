//! Documentation, lints, `cfg`s, raw names and every kind of visibility stay.
#![deny(missing_docs, unused, clippy::all)]

use tenure::NeverLent;

/// An error.
#[derive(Debug)]
pub struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

/// Documented above the attribute.
#[tenure::context]
/// Documented below it too.
#[must_use = "the user's own words"]
#[inline]
pub async fn r#async(
    r#type: u8,
    #[allow(unused_variables)] unused: u8,
    #[cfg(any())] absent: Absent,
    #[cfg(all())] present: u8,
) -> Result<u8, Error> {
    #[cfg(any())]
    lend!(r#type);
    #[cfg(all())]
    lend!(r#type + present);
    Ok(())
}

#[cfg(any())]
#[tenure::context]
pub async fn absent() -> Result<Absent, Absent> {
    lend!(Absent);
    Ok(())
}

#[deprecated = "to see that the attribute stays"]
#[tenure::context]
pub(crate) async fn deprecated() -> Result<u8, Error> {
    lend! { 1 }
    Ok(())
}

/// The lints of the function are those of its body.
#[tenure::context]
#[expect(unused_variables, reason = "to see that the attribute reaches the body")]
pub async fn lints(unused: u8) -> Result<u8, Error> {
    //! Documented inside.
    #![expect(unused_assignments, reason = "to see that this one does too")]
    let mut n = 0;
    n = 1;
    n = 2;
    lend![n];
    Ok(())
}

/// An inherent method, wrapped.
pub struct Service;

impl Service {
    /// Documented.
    #[tenure::within(r#async(1, 2, 3))]
    #[must_use]
    pub async fn wrapped(&self) -> Result<u8, Error> {
        #![expect(unused_variables, reason = "to see that the attribute reaches the body")]
        let n = 0;
        Ok(1)
    }
}

mod hidden {
    #[tenure::test]
    #[ignore = "to see that the attribute stays"]
    #[allow(dead_code)]
    async fn r#try() {}
}

/// Documented.
#[tenure::main]
#[allow(deprecated)]
async fn main() -> Result<(), Error> {
    tenure::with(r#async(1, 2, 3), async |n| {
        assert_eq!(**n, 4);
        Ok::<(), Error>(())
    })
    .await?;
    tenure::with(deprecated(), async |_| Ok::<(), Error>(())).await?;
    tenure::with(lints(1), async |_| Ok::<(), Error>(())).await?;
    assert_eq!(Service.wrapped().await?, 1);
    Ok(())
}
