//! A child process of `tokio::process` that is waited for.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure_test::{CancelBy, Flavour, PreparedProof, Proof};
use tokio::process::Command;

use crate::load::{found_in_each_of_ten, idle_and_busy, place};

/// How long the child lives if it is left alone, in seconds, and how soon it has to be gone if it is not.
const LIFE: &str = "0.8";
const GONE_WITHIN: Duration = Duration::from_millis(300);

type Children = Mutex<Vec<u32>>;

/// Whether the process is there, and no zombie.
fn lives(process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return false;
    };
    // The state stands behind the name, which is in parentheses.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

fn proof() -> PreparedProof<Children> {
    Proof::new()
        .real_clock()
        .flavour(Flavour::CurrentThread)
        .cancel_by([CancelBy::Drop, CancelBy::Timeout])
        .max_short_runs(1)
        .check_within(GONE_WITHIN)
        .set_up(async || Children::default())
        .check(|_run, children: Arc<Children>| async move {
            let living = children.lock().unwrap().iter().any(|child| lives(*child));
            if living { Err("the child lives on".to_owned()) } else { Ok(()) }
        })
}

async fn wait(children: Arc<Children>, kill: bool) -> std::io::Result<()> {
    let mut child = Command::new("sleep").arg(LIFE).kill_on_drop(kill).spawn()?;
    children.lock().unwrap().extend(child.id());
    let status = child.wait().await?; // the wait
    assert!(status.success());
    Ok(())
}

#[test]
fn a_child_that_is_waited_for_lives_on() {
    let at = place("museum/processes.rs", include_str!("processes.rs"), "the wait");
    found_in_each_of_ten(&[&at], || proof().expect_leak(|_, children| wait(children, false)));
}

#[test]
fn a_child_that_is_killed_on_drop_does_not() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, children| wait(children, true));
        assert!(report.suspensions >= 1, "{report}");
    });
}
