//! The command line.

use crate::error::Error;
use crate::steps::Suite;

pub(crate) const HELP: &str = "\
All checks of this workspace.

Usage:
  cargo xtask test [--only STEP]… [--list] [--verbose]
  cargo xtask verify [--only STEP]… [--list] [--verbose]
  cargo xtask model
  cargo xtask servers [-- COMMAND…]

Commands:
  test      run every check, stop at the first that fails
  verify    run the long checks, which take hours and need a nightly toolchain for some: 200,000 random programs, 10,000
            ways to leave a connection, miri, the thread sanitizer
  model     run the loom models alone: `test --only model`
  servers   start private PostgreSQL and MariaDB servers and hold them until Ctrl-C, or while COMMAND runs, which finds
            their addresses in TENURE_POSTGRES_URL and TENURE_MYSQL_URL

Options of `test` and `verify`:
  --only STEP   run this step alone; may be given more than once
  --list        say what the steps are
  --verbose     show what the tools print while they run, not only when they fail
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cli {
    Help,
    List { suite: Suite },
    Check { suite: Suite, only: Vec<String>, verbose: bool },
    Servers { command: Vec<String> },
}

impl Cli {
    /// Reads the words behind `cargo xtask`.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut words = words.into_iter();
        let command = words.next();
        let rest: Vec<String> = words.collect();
        match command.as_deref() {
            None | Some("help" | "--help" | "-h") => Ok(Self::Help),
            Some("test") => Self::parse_check(Suite::Test, rest),
            Some("verify") => Self::parse_check(Suite::Verify, rest),
            Some("model") => {
                let only = ["--only".to_owned(), "model".to_owned()];
                Self::parse_check(Suite::Test, only.into_iter().chain(rest))
            }
            Some("servers") => Self::parse_servers(rest),
            Some(other) => Err(Error::Usage(format!("there is no command `{other}`"))),
        }
    }

    fn parse_servers(words: Vec<String>) -> Result<Self, Error> {
        let mut command = words.into_iter();
        match command.next().as_deref() {
            None => Ok(Self::Servers { command: Vec::new() }),
            Some("--") if !command.as_slice().is_empty() => Ok(Self::Servers { command: command.collect() }),
            Some("--") => Err(Error::Usage("`servers --` needs a command".to_owned())),
            Some(_) => Err(Error::Usage("`servers` takes no options but `-- COMMAND`".to_owned())),
        }
    }

    fn parse_check(suite: Suite, words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut words = words.into_iter();
        let mut only = Vec::new();
        let mut verbose = false;
        let mut list = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--only" => match words.next() {
                    Some(step) => only.push(step),
                    None => return Err(Error::Usage("`--only` needs a step".to_owned())),
                },
                "--list" => list = true,
                "--verbose" | "-v" => verbose = true,
                "--help" | "-h" => return Ok(Self::Help),
                other => return Err(Error::Usage(format!("there is no option `{other}`"))),
            }
        }
        Ok(if list { Self::List { suite } } else { Self::Check { suite, only, verbose } })
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use crate::steps::Suite;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn test_takes_steps() {
        let only = vec!["docs".to_owned(), "format".to_owned()];
        let (suite, verbose) = (Suite::Test, true);
        assert_eq!(parse("test --only docs --verbose --only format"), Ok(Cli::Check { suite, only, verbose }));
    }

    #[test]
    fn verify_has_the_options_of_test() {
        let (suite, only, verbose) = (Suite::Verify, vec!["random".to_owned()], false);
        assert_eq!(parse("verify --only random"), Ok(Cli::Check { suite, only, verbose }));
        assert_eq!(parse("verify --list"), Ok(Cli::List { suite: Suite::Verify }));
    }

    #[test]
    fn model_is_a_step_by_itself() {
        assert_eq!(parse("model"), parse("test --only model"));
    }

    #[test]
    fn servers_take_a_command_with_its_own_options() {
        let command = ["cargo", "run", "--", "--quick"].map(str::to_owned).to_vec();
        assert_eq!(parse("servers -- cargo run -- --quick"), Ok(Cli::Servers { command }));
        assert_eq!(parse("servers"), Ok(Cli::Servers { command: Vec::new() }));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, complaint) in [
            ("tset", "there is no command `tset`"),
            ("test --only", "`--only` needs a step"),
            ("test --fast", "there is no option `--fast`"),
            ("servers now", "`servers` takes no options"),
            ("servers --", "needs a command"),
        ] {
            let error = parse(line).expect_err("a wrong line is refused");
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }
}
