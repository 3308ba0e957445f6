//! The command line.

use crate::error::Error;
use crate::install::Installing;
use crate::steps::Suite;

const NO_INSTALL: &str = "--no-install";

pub(crate) const HELP: &str = "\
All checks of this workspace.

Usage:
  cargo xtask setup [--dry-run]
  cargo xtask test [--only STEP]… [--list] [--verbose] [--no-install]
  cargo xtask verify [--only STEP]… [--list] [--verbose] [--no-install]
  cargo xtask model
  cargo xtask tidy
  cargo xtask servers [--no-install] [-- COMMAND…]

Commands:
  setup     install the servers and the browser that tests use: as root, with Debian's package manager; elsewhere say what
            to install. `test`, `verify` and `servers` do the same for what they need
  test      run every check, stop at the first that fails
  verify    run the long checks, which take hours and need a nightly toolchain for some: 200,000 random programs, 10,000
            ways to leave a connection, miri, the thread sanitizer
  model     run the loom models alone: `test --only model`
  tidy      measure the words of the documentation, and look for import circles and for names defined twice
  servers   start private PostgreSQL and MariaDB servers and hold them until Ctrl-C, or while COMMAND runs, which finds
            their addresses in TENURE_POSTGRES_URL and TENURE_MYSQL_URL

Options of `test` and `verify`:
  --only STEP   run this step alone; may be given more than once
  --list        say what the steps are
  --verbose     show what the tools print while they run, not only when they fail
  --no-install  install nothing: if something is missing, fail and say what to install

Options of `setup`:
  --dry-run     say what is there and what would be installed, and install nothing
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cli {
    Help,
    List { suite: Suite },
    Check { suite: Suite, only: Vec<String>, verbose: bool, installing: Installing },
    Servers { command: Vec<String>, installing: Installing },
    Setup { only_say: bool },
    Tidy,
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
            Some("tidy") if rest.is_empty() => Ok(Self::Tidy),
            Some("tidy") => Err(Error::Usage("`tidy` takes no options".to_owned())),
            Some("setup") => Self::parse_setup(&rest),
            Some(other) => Err(Error::Usage(format!("there is no command `{other}`"))),
        }
    }

    fn parse_setup(words: &[String]) -> Result<Self, Error> {
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Ok(Self::Setup { only_say: false }),
            ["--dry-run"] => Ok(Self::Setup { only_say: true }),
            _ => Err(Error::Usage("`setup` takes no options but `--dry-run`".to_owned())),
        }
    }

    fn parse_servers(words: Vec<String>) -> Result<Self, Error> {
        let mut words = words.into_iter().peekable();
        let installing = match words.next_if(|word| word == NO_INSTALL) {
            Some(_) => Installing::Refused,
            None => Installing::Allowed,
        };
        let marker = words.next();
        let command: Vec<String> = words.collect();
        match marker.as_deref() {
            None => Ok(Self::Servers { command, installing }),
            Some("--") if !command.is_empty() => Ok(Self::Servers { command, installing }),
            Some("--") => Err(Error::Usage("`servers --` needs a command".to_owned())),
            Some(_) => {
                Err(Error::Usage("`servers` takes no options but `--no-install` and `-- COMMAND`".to_owned()))
            }
        }
    }

    fn parse_check(suite: Suite, words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut words = words.into_iter();
        let mut only = Vec::new();
        let mut verbose = false;
        let mut list = false;
        let mut installing = Installing::Allowed;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--only" => match words.next() {
                    Some(step) => only.push(step),
                    None => return Err(Error::Usage("`--only` needs a step".to_owned())),
                },
                "--list" => list = true,
                NO_INSTALL => installing = Installing::Refused,
                "--verbose" | "-v" => verbose = true,
                "--help" | "-h" => return Ok(Self::Help),
                other => return Err(Error::Usage(format!("there is no option `{other}`"))),
            }
        }
        Ok(if list { Self::List { suite } } else { Self::Check { suite, only, verbose, installing } })
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use crate::install::Installing;
    use crate::steps::Suite;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string())
    }

    #[test]
    fn test_takes_steps() {
        let only = vec!["docs".to_owned(), "format".to_owned()];
        let (suite, verbose, installing) = (Suite::Test, true, Installing::Refused);
        let line = "test --only docs --verbose --no-install --only format";
        assert_eq!(parse(line), Ok(Cli::Check { suite, only, verbose, installing }));
    }

    #[test]
    fn verify_has_the_options_of_test() {
        let (suite, only, verbose) = (Suite::Verify, vec!["random".to_owned()], false);
        let installing = Installing::Allowed;
        assert_eq!(parse("verify --only random"), Ok(Cli::Check { suite, only, verbose, installing }));
        assert_eq!(parse("verify --list"), Ok(Cli::List { suite: Suite::Verify }));
    }

    #[test]
    fn model_is_a_step_by_itself() {
        assert_eq!(parse("model"), parse("test --only model"));
    }

    #[test]
    fn servers_take_a_command_with_its_own_options() {
        let command = ["cargo", "run", "--", "--quick"].map(str::to_owned).to_vec();
        let installing = Installing::Allowed;
        assert_eq!(parse("servers -- cargo run -- --quick"), Ok(Cli::Servers { command, installing }));
        let (command, installing) = (Vec::new(), Installing::Refused);
        assert_eq!(parse("servers --no-install"), Ok(Cli::Servers { command, installing }));
    }

    #[test]
    fn setup_can_say_alone_what_it_would_do() {
        assert_eq!(parse("setup"), Ok(Cli::Setup { only_say: false }));
        assert_eq!(parse("setup --dry-run"), Ok(Cli::Setup { only_say: true }));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, complaint) in [
            ("tset", "there is no command `tset`"),
            ("test --only", "`--only` needs a step"),
            ("test --fast", "there is no option `--fast`"),
            ("servers now", "`servers` takes no options"),
            ("servers --", "needs a command"),
            ("tidy now", "`tidy` takes no options"),
            ("setup now", "`setup` takes no options"),
        ] {
            let error = parse(line).expect_err("a wrong line is refused");
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }
}
