//! Runs to the end.

use crate::support::bank::Site;

const SMALL: [&str; 6] = ["--clients", "16", "--transfers", "1500", "--seed", "11"];

#[test]
fn a_run_conserves_the_money_and_leaves_nothing() {
    let site = Site::new();
    let ended = site.run(SMALL);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.complaints, "");
    ended.assert_nothing_lost();
    site.assert_no_temporary_folder();

    // Every fate was met, and every transfer counted.
    let counts = ["committed", "rolled back", "cancelled", "panicked"].map(|label| ended.count(label));
    assert!(counts.iter().all(|count| *count > 0), "{ended:?}");
    assert_eq!(counts.iter().sum::<u64>() + ended.count("unanswered at the stop"), 1_500);
    assert_eq!(ended.count("transfers "), 1_500);
    assert!(ended.count("in the background") > 0, "nothing was handed over: {ended:?}");
    // What the clients have heard of, the service has answered; and it has seen them go.
    assert!(ended.count("answered") >= ended.count("committed") + ended.count("rolled back"));
    assert!(ended.count("client gone") > 0);
    assert_eq!(ended.count("failed"), 0);
    assert_eq!(ended.count("cut off"), 0);
    assert!(ended.value("latency p99").ends_with(" ms"));
    assert_eq!(ended.value("seed"), "11");
}

#[test]
fn a_database_that_is_given_is_kept_and_used_again() {
    let site = Site::new();
    let path = site.path("kept.db");
    for run in 1..=2 {
        let ended = site.run(SMALL.iter().copied().chain(["--database", "kept.db"]));
        assert_eq!(ended.code, Some(0), "run {run}: {ended:?}");
        ended.assert_nothing_lost();
        assert!(path.is_file());
        assert!(!site.path("kept.db-wal").exists(), "the last connection was not closed");
    }
    // The accounts are where the first two runs have left them.
    let ended = site.run(["--transfers", "0", "--database", "kept.db"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.assert_nothing_lost();
}

#[test]
fn panics_by_intent_are_quiet() {
    let ended = Site::new().run(["--transfers", "300", "--seed", "3"]);
    assert!(ended.count("panicked") > 0);
    assert_eq!(ended.complaints, "");
}

#[test]
fn a_name_that_means_something_else_to_sqlite_is_a_file_all_the_same() {
    let site = Site::new();
    for name in [":memory:", "file:bank.db?mode=ro"] {
        let ended = site.run(["--database", name, "--transfers", "10"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(site.path(name).is_file(), "{name}");
    }
}
