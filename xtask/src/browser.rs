//! A browser for tests of pages, and the program that drives it.

use std::path::PathBuf;

use crate::error::Error;
use crate::install;
use crate::setup::Tool;

/// The variable with the path of the driver. It is given together with [`BROWSER`], or neither is.
const DRIVER: &str = "TENURE_CHROMEDRIVER";

/// The variable with the path of the browser.
const BROWSER: &str = "TENURE_CHROMIUM";

pub(crate) const TOOLS: &[Tool] = &[Tool {
    name: "Chromium",
    programs: &[CHROMIUM, CHROMEDRIVER],
    debian_packages: &["chromium", "chromium-driver"],
    cure: "install it (Debian: `chromium` and `chromium-driver`, Fedora: `chromium` and `chromedriver`)",
    variables: &[BROWSER, DRIVER],
}];

const CHROMIUM: &str = "chromium";
const CHROMEDRIVER: &str = "chromedriver";

/// Returns the variables that tell tests where the browser and its driver are.
///
/// # Errors
/// If they are missing.
pub(crate) fn variables() -> Result<[(&'static str, PathBuf); 2], Error> {
    let set = |variable| std::env::var_os(variable).map(PathBuf::from);
    if let (Some(browser), Some(driver)) = (set(BROWSER), set(DRIVER)) {
        return Ok([(BROWSER, browser), (DRIVER, driver)]);
    }
    Ok([(BROWSER, install::found(CHROMIUM)?), (DRIVER, install::found(CHROMEDRIVER)?)])
}
