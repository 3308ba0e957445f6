//! Stopped half way.

use std::cell::RefCell;
use std::path::Path;
use std::process::Child;

use crate::support::bank::{Ended, Site, list, signal, wait_until};

/// Waits until `happened`, or the bank has ended by itself.
fn wait_for(bank: &mut Child, happened: impl Fn() -> bool) {
    let bank = RefCell::new(bank);
    wait_until(|| {
        assert!(bank.borrow_mut().try_wait().unwrap().is_none(), "the bank ended by itself");
        happened()
    });
}

/// Whether transfers are being written, as seen by the size of the log.
fn is_busy(log: &Path) -> bool {
    const BYTES: u64 = 500_000;
    log.metadata().is_ok_and(|metadata| metadata.len() > BYTES)
}

#[test]
fn law_35_ctrl_c_stops_it_in_order_and_removes_the_temporary_folder() {
    let site = Site::new();
    let temporary = site.path("temporary");
    let mut bank = site.start(["--clients", "32"]);
    wait_for(&mut bank, || list(&temporary).iter().any(|folder| is_busy(&folder.join("bank.db-wal"))));
    signal(&bank, "INT");
    let ended = Ended::of(&bank.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.complaints, "bank: stopped by a signal\n");
    ended.assert_nothing_lost();
    site.assert_no_temporary_folder();
}

#[test]
fn law_35_sigterm_leaves_a_database_that_is_kept_in_order() {
    let site = Site::new();
    let mut bank = site.start(["--database", "kept.db"]);
    let log = site.path("kept.db-wal");
    wait_for(&mut bank, || is_busy(&log));
    signal(&bank, "TERM");
    let ended = Ended::of(&bank.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(143), "{ended:?}");
    ended.assert_nothing_lost();
    assert!(!log.exists(), "the last connection was not closed");

    let next = site.run(["--database", "kept.db", "--transfers", "100"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    next.assert_nothing_lost();
}

#[test]
fn law_35_ctrl_c_at_the_very_beginning_leaves_nothing() {
    let site = Site::new();
    let temporary = site.path("temporary");
    let mut bank = site.start(["--clients", "1"]);
    // The handlers are installed before anything is made.
    wait_for(&mut bank, || !list(&temporary).is_empty());
    signal(&bank, "INT");
    let ended = Ended::of(&bank.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.complaints, "bank: stopped by a signal\n");
    site.assert_no_temporary_folder();
}
