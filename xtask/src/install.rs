//! Finds the programs that tests use, and installs them where they are missing and that is allowed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::process::{self, Ended, LastWords, Observer as _};
use crate::servers::place::is_root;
use crate::setup::Tool;

/// How long the system's package manager may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Where Debian and its kin put PostgreSQL's programs, out of the way of `PATH`.
const POSTGRES_HOME: &str = "/usr/lib/postgresql";

/// A program, on `PATH` or where servers' programs are besides.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    folders.extend(by_version_newest_first(Path::new(POSTGRES_HOME)));
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Finds a program that [`ensure`] has seen.
pub(crate) fn found(program: &str) -> Result<PathBuf, Error> {
    find(program).ok_or_else(|| Error::Missing(format!("`{program}` is missing")))
}

/// Permission to install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installing {
    Allowed,
    Refused,
}

/// Returns `true` if all of a tool's programs are there.
pub(crate) fn is_there(tool: &Tool) -> bool {
    tool.programs.iter().all(|program| find(program).is_some())
}

/// Returns `true` where packages can be installed from here: by root, with Debian's package manager.
fn can_install() -> bool {
    is_root() && find("apt-get").is_some()
}

/// Says what [`ensure`] would do about a tool that is missing.
pub(crate) fn what_would_happen(tool: &Tool) -> String {
    if can_install() {
        format!("`cargo xtask setup` installs the Debian packages {}", tool.debian_packages.join(" "))
    } else {
        tool.cure.to_owned()
    }
}

/// Makes sure that a tool is there: brought by the user, found, or installed.
///
/// # Errors
/// If it is missing and cannot, or may not, be installed from here; the error says what to install.
pub(crate) fn ensure(
    tool: &Tool,
    installing: Installing,
    interrupt: &Interrupt,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    if tool.is_brought() || is_there(tool) {
        return Ok(());
    }
    let Tool { name, programs, debian_packages: packages, cure, .. } = tool;
    if installing == Installing::Allowed && can_install() {
        say(&format!("{name} is missing, installing the packages {}", packages.join(" ")));
        install(packages, interrupt)?;
    }
    if !is_there(tool) {
        let variables = tool.variables.join(" and ");
        let programs = programs.join(" and ");
        return Err(Error::Missing(format!(
            "{name} is missing ({programs}); {cure}, or set {variables} to bring your own"
        )));
    }
    Ok(())
}

fn install(packages: &[&str], interrupt: &Interrupt) -> Result<(), Error> {
    keep_debian_from_starting_postgres()?;
    let mut update = apt("update");
    let mut install = apt("install");
    install.args(["--yes", "--no-install-recommends"]).args(packages);
    for command in [&mut update, &mut install] {
        let mut output = LastWords::default();
        match process::run(command, INSTALL_LIMIT, interrupt, &mut output)? {
            Ended::Exited(status) if status.success() => {}
            Ended::Exited(_) | Ended::OutOfTime(_) => {
                output.line("apt-get did not succeed");
                return Err(Error::Missing(output.0.join("\n")));
            }
        }
    }
    Ok(())
}

fn apt(word: &str) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["--quiet", word]);
    command
}

/// Installing PostgreSQL on Debian makes a database and starts a server on it, unless this file says no.
/// Someone else's answer is left as it is.
fn keep_debian_from_starting_postgres() -> Result<(), Error> {
    let folder = Path::new("/etc/postgresql-common");
    let answer = folder.join("createcluster.conf");
    if answer.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&answer, "create_main_cluster = false\n"))
        .map_err(Error::io(format!("write {}", answer.display())))
}

/// `15/bin`, `14/bin`, …
fn by_version_newest_first(home: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(home)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let version = folder.file_name()?.to_str()?.parse().ok()?;
            Some((version, folder.join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::{by_version_newest_first, find};
    use crate::servers::place::Place;

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn the_newest_version_comes_first() {
        let place = Place::make("Versions").expect("a place");
        for version in ["9", "15", "14", "common"] {
            std::fs::create_dir(place.folder().join(version)).expect("a folder");
        }
        let folders = by_version_newest_first(place.folder());
        let expected = ["15", "14", "9"].map(|version| place.folder().join(version).join("bin"));
        assert_eq!(folders, expected);
    }
}
