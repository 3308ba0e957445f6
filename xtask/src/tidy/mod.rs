//! Checks what no compiler looks at: the words of the documentation, and the shape of the crates.
//!
//! - [`words`]: summaries begin with a verb or a noun; words that read as translated are rare.
//! - [`circles`]: the files of a crate form no import circle.
//! - [`names`]: the name of a public type is defined once in the workspace.
//!
//! # Invariants
//! 1. A file that cannot be parsed is an error, and never left out.
//! 2. What is wrong is named with its file and line.

mod circles;
mod names;
mod source;
mod words;

use crate::error::Error;
use crate::workspace::Workspace;

/// Checks all libraries, prints a table, and then each line that is to be changed.
///
/// # Errors
/// If a limit is not kept, or a file cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Error> {
    let mut faults = Vec::new();
    let mut all_files = Vec::new();
    println!("{}", words::HEAD);
    for folder in workspace.library_folders() {
        let files = source::read(workspace.root(), &folder)?;
        let measured = words::measure(&files);
        println!("{}", measured.row(&folder));
        faults.extend(measured.faults());
        faults.extend(circles::find(&files));
        all_files.extend(files);
    }
    faults.extend(names::twice(&all_files));
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        println!("{fault}");
    }
    Err(Error::Untidy { faults: faults.len() })
}
