//! Databases that cannot be used, and disks that are full.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::support::bank::{BANK, Ended, Site};

/// Runs a bank on this database, which it has to refuse for this reason.
#[track_caller]
fn assert_unusable(site: &Site, database: &str, reason: &str) {
    let ended = site.run(["--database", database, "--transfers", "10"]);
    ended.assert_refused(1, &format!("cannot use {database}: {reason}"));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let site = Site::new();
    let text = "Dear bank, please find enclosed no database.";
    fs::write(site.path("letter.txt"), text).unwrap();
    assert_unusable(&site, "letter.txt", "it is no SQLite database");
    assert_eq!(fs::read_to_string(site.path("letter.txt")).unwrap(), text);
}

#[test]
fn a_broken_database_is_refused() {
    let site = Site::new();
    let mut broken = b"SQLite format 3\0".to_vec();
    broken.resize(8_192, 0x5a);
    fs::write(site.path("broken.db"), broken).unwrap();
    assert_unusable(&site, "broken.db", "file is not a database");
}

#[test]
fn the_database_of_another_application_is_refused_and_left_alone() {
    let site = Site::new();
    assert_eq!(site.run(["--database", "other.db", "--transfers", "0"]).code, Some(0));
    // The bank's own database, under another application's number: bytes 68 to 71 of the header.
    let mut content = fs::read(site.path("other.db")).unwrap();
    content[68..72].copy_from_slice(&[0, 0, 0, 7]);
    fs::write(site.path("other.db"), &content).unwrap();
    assert_unusable(&site, "other.db", "it holds the data of another application");
    assert_eq!(fs::read(site.path("other.db")).unwrap(), content);
}

#[test]
fn a_folder_or_a_missing_folder_is_refused() {
    let site = Site::new();
    assert_unusable(&site, ".", "it is a folder");
    assert_unusable(&site, "missing/bank.db", "its folder does not exist");
    assert_unusable(&site, "/dev/null", "it is no regular file");
}

#[test]
fn a_database_that_another_bank_uses_is_refused() {
    let site = Site::new();
    let path = site.path("shared.db");
    let lock = fs::File::create(path).unwrap();
    lock.lock().unwrap();
    assert_unusable(&site, "shared.db", "another bank is using it");
}

#[test]
fn a_read_only_folder_is_refused() {
    let site = Site::new();
    let folder = site.path("read-only");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(site.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    // No permission stops root, so the bank runs as somebody else then, from a place that anybody can reach.
    let bank = site.path("bank");
    // Copied by another process: a test that forks while this one writes would keep the copy from being run.
    assert!(Command::new("cp").arg(BANK).arg(&bank).status().unwrap().success());
    let mut command = Command::new(bank);
    command.args(["--database", "read-only/bank.db"]).current_dir(site.path("."));
    if fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0) {
        const NOBODY: u32 = 65_534;
        command.uid(NOBODY).gid(NOBODY);
    }
    let ended = Ended::of(&command.output().unwrap());
    ended.assert_refused(
        1,
        "cannot use read-only/bank.db: its folder cannot be written to: Permission denied (os error 13)",
    );
}

#[test]
fn a_temporary_folder_that_cannot_be_made_is_told() {
    let site = Site::new();
    let output = site.bank(["--transfers", "10"]).env("TMPDIR", site.path("missing")).output().unwrap();
    let ended = Ended::of(&output);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.complaints.lines().count(), 1);
    assert!(ended.complaints.starts_with("bank: cannot use a temporary folder: "), "{ended:?}");
}

/// Runs a shell with a small disk of its own at `/mnt`. `None` where the system does not allow that.
fn on_a_small_disk(size: &str, script: &str) -> Option<Ended> {
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).output()
    };
    let mount = format!("mount -t tmpfs -o size={size} none /mnt");
    private(&mount).is_ok_and(|output| output.status.success()).then(|| {
        let output = private(&format!("{mount} && {script}")).unwrap();
        Ended::of(&output)
    })
}

#[test]
fn a_full_disk_stops_the_bank_and_loses_nothing() {
    let script = format!(
        "{BANK} --database /mnt/bank.db; code=$?; {BANK} --database /mnt/bank.db --transfers 0 >&2; exit $code"
    );
    let Some(ended) = on_a_small_disk("1m", &script) else {
        eprintln!("not tested: no disk can be mounted here");
        return;
    };
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.assert_nothing_lost();
    assert!(ended.count("committed") > 0);
    // The second bank finds the accounts in order, and complains of nothing.
    assert_eq!(ended.sentences(), ["bank: the disk is full"], "{ended:?}");
    assert!(ended.complaints.contains("sum of money after            1,000,000.00"), "{ended:?}");
}

#[test]
fn a_disk_too_small_for_the_accounts_is_told() {
    let Some(ended) = on_a_small_disk("40k", &format!("{BANK} --database /mnt/bank.db")) else {
        eprintln!("not tested: no disk can be mounted here");
        return;
    };
    ended.assert_refused(1, "cannot use /mnt/bank.db: the disk is full");
}

/// A limit on the size of files is a disk that refuses to write, on every system.
#[test]
fn a_disk_that_refuses_to_write_stops_the_bank_and_loses_nothing() {
    let site = Site::new();
    let script = format!("trap '' XFSZ; ulimit -f 1000; exec {BANK} --database limited.db");
    let output = Command::new("sh").args(["-c", &script]).current_dir(site.path(".")).output().unwrap();
    let ended = Ended::of(&output);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let sentences = ended.sentences();
    assert!(matches!(sentences[..], [only] if only.contains("disk I/O error")), "{ended:?}");
    ended.assert_nothing_lost();
}
