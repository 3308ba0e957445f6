//! The progress bar, cleared at its exit so that what is printed next begins on a line of its own.

use std::fmt;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tenure::{AsyncExit, Outcome};

use crate::cli::Settings;
use crate::problem::Problem;

/// A progress bar on standard error, if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows how far the clients have come, if the bank has clients of its own.
    pub(crate) async fn show(settings: &Settings) -> Result<Self, Problem> {
        if settings.serve.is_some() {
            return Ok(Self { bar: ProgressBar::hidden() });
        }
        let transfers = settings.transfers;
        let template = "{elapsed:>4} {wide_bar} {human_pos}/{human_len} transfers, {rate:>7}/s  {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::new(transfers);
        bar.set_style(style.with_key("rate", write_rate));
        Ok(Self { bar })
    }

    /// Shows where the bank can be watched.
    pub(crate) fn show_url(&self, url: &str) {
        self.bar.set_message(url.to_owned());
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
