//! The progress bar, cleared at its exit so that what is printed next begins on a line of its own.

use std::fmt;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
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
        let template = "{elapsed:>4} {wide_bar} {human_pos}/{human_len} transfers, {rate:>7}/s";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::new(transfers);
        bar.set_style(style.with_key("rate", write_rate));
        Ok(Self { bar })
    }

    /// A handle to move it.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }
}

/// Transfers in a second, without the decimals of indicatif's own key.
fn write_rate(state: &ProgressState, f: &mut dyn fmt::Write) {
    // A bar that cannot be written to is not worth more than that.
    let _ = write!(f, "{:.0}", state.per_sec());
}

impl AsyncExit for Progress {
    type Error = Problem;

    async fn exit(self, _outcome: Outcome<'_>) -> Result<(), Problem> {
        self.bar.finish_and_clear();
        Ok(())
    }
}
