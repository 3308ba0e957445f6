//! A browser for tests of pages, and the program that drives it.

use std::path::PathBuf;

use crate::error::Error;
use crate::install;
use crate::interrupt::Interrupt;

/// The variable with the path of the driver. It is given together with [`BROWSER`], or neither is.
const DRIVER: &str = "TENURE_CHROMEDRIVER";

/// The variable with the path of the browser.
const BROWSER: &str = "TENURE_CHROMIUM";

const CURE: &str = "install it (Debian: `chromium` and `chromium-driver`, Fedora: `chromium` and `chromedriver`), or \
                    set TENURE_CHROMIUM and TENURE_CHROMEDRIVER to a browser and a driver of the same version";

/// The variables that tell tests where the browser and its driver are, installed if they are missing and that is
/// allowed.
pub(crate) fn variables(
    interrupt: &Interrupt,
    say: &mut dyn FnMut(&str),
) -> Result<[(&'static str, PathBuf); 2], Error> {
    let set = |variable| std::env::var_os(variable).map(PathBuf::from);
    if let (Some(browser), Some(driver)) = (set(BROWSER), set(DRIVER)) {
        return Ok([(BROWSER, browser), (DRIVER, driver)]);
    }
    let programs = ["chromium", "chromedriver"];
    install::ensure("Chromium", &programs, &["chromium", "chromium-driver"], CURE, interrupt, say)?;
    Ok([(BROWSER, install::found(programs[0])?), (DRIVER, install::found(programs[1])?)])
}
