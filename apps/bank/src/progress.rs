//! The progress bar, cleared at its exit so that what is printed next begins on a line of its own.

use indicatif::{ProgressBar, ProgressStyle};
use tenure::{AsyncExit, Outcome};

use crate::problem::Problem;

/// A progress bar on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows a bar of this length.
    pub(crate) async fn show(transfers: u64) -> Result<Self, Problem> {
        let style = ProgressStyle::with_template(
            "{elapsed:>4} {wide_bar} {human_pos}/{human_len} transfers, {per_sec}",
        );
        let bar = ProgressBar::new(transfers);
        bar.set_style(style.expect("the template is well formed"));
        Ok(Self { bar })
    }

    /// A handle to move it.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }
}

impl AsyncExit for Progress {
    type Error = Problem;

    async fn exit(self, _outcome: Outcome<'_>) -> Result<(), Problem> {
        self.bar.finish_and_clear();
        Ok(())
    }
}
