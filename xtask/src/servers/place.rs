//! Where a server lives: its folder, its port, its user and its password.

use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Error;

/// The loopback, on which alone servers listen.
pub(crate) const HOST: &str = "127.0.0.1";

/// The user inside the server.
pub(crate) const ROLE: &str = "tenure";

/// Where a server lives. The folder is removed with it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    port: u16,
    password: String,
    account: Option<Account>,
}

/// An unprivileged user of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    user: u32,
    group: u32,
}

impl Place {
    /// A new folder that nobody else may look into, and a port that is free now.
    pub(crate) fn make(name: &str) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a number that differs is all that is wanted.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let label = name.to_lowercase();
        let folder = format!("tenure-{label}-{}-{count}", std::process::id());
        let place = Self {
            folder: std::env::temp_dir().join(folder),
            port: free_port().map_err(Error::io("find a free port"))?,
            password: password().map_err(Error::io("read /dev/urandom"))?,
            account: Account::unprivileged()?,
        };
        DirBuilder::new()
            .mode(0o700)
            .create(&place.folder)
            .and_then(|()| place.give_away(&place.folder))
            .map_err(Error::io(format!("make {}", place.folder.display())))?;
        Ok(place)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder, as text for a command line.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Writes a file that the server's user can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String, Error> {
        let path = self.folder.join(name);
        fs::write(&path, text)
            .and_then(|()| self.give_away(&path))
            .map_err(Error::io(format!("write {}", path.display())))?;
        Ok(self.path(name))
    }

    /// A command run by the server's user, in the plainest environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // The folder this was started from may be closed to that user, and cargo's library path is
        // not for other programs.
        command.current_dir("/").env_clear().env("LC_ALL", "C");
        command.env("TMPDIR", &self.folder);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    fn give_away(&self, path: &Path) -> std::io::Result<()> {
        match self.account {
            Some(account) => chown(path, Some(account.user), Some(account.group)),
            None => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Its keeper has removed it already, unless there was none yet.
        let _gone_is_fine = fs::remove_dir_all(&self.folder);
    }
}

impl Account {
    /// The user to become; none, if this is not started by root.
    fn unprivileged() -> Result<Option<Self>, Error> {
        if !is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(Error::io("read /etc/passwd"))?;
        match Self::find("nobody", &users) {
            Some(account) => Ok(Some(account)),
            None => Err(Error::Missing(
                "database servers do not run as root and there is no user `nobody` to run them; \
                 start this as another user"
                    .to_owned(),
            )),
        }
    }

    fn find(name: &str, users: &str) -> Option<Self> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (is_it, _password) = (fields.next()? == name, fields.next()?);
            let user = fields.next()?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            is_it.then_some(Self { user, group })
        })
    }
}

/// Whether this is started by root.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((HOST, 0))?.local_addr()?.port())
}

fn password() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{Account, Place};

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody2:x:7:8::/:\nnobody:x:65534:65533::/:\n";
        let (user, group) = (65534, 65533);
        assert_eq!(Account::find("nobody", users), Some(Account { user, group }));
        assert_eq!(Account::find("body", users), None);
    }

    #[test]
    fn a_place_is_private_and_removed() {
        use std::os::unix::fs::PermissionsExt;

        let place = Place::make("Test").expect("a place");
        let other = Place::make("Test").expect("another place");
        let folder = place.folder().to_owned();
        assert_ne!(folder, other.folder());
        assert_ne!(place.password(), other.password());
        let mode = std::fs::metadata(&folder).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
        place.write("note", "hello").expect("it can be written to");
        drop(place);
        assert!(!folder.exists());
    }
}
