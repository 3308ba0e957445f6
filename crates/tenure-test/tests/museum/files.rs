//! Temporary files of `tokio::fs` and of `async-tempfile`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_tempfile::TempFile;
use tempfile::TempDir;
use tenure::{AsyncExit, Outcome, released, shield, with};
use tenure_test::{PreparedProof, Proof};
use tokio::io::AsyncWriteExt;

use crate::load::{found_in_each_of_ten, idle_and_busy, place};

const WHOLE: &str = "the whole file";

/// A folder for each run. Afterwards it has the whole final file or nothing: soon, for threads may still be at work,
/// and from then on.
fn proof() -> PreparedProof<TempDir> {
    Proof::new()
        .real_clock()
        .suspend_often()
        .check_within(Duration::from_secs(1))
        .check_for(Duration::from_millis(60))
        .set_up(async || TempDir::new().unwrap())
        .check(|_run, folder: Arc<TempDir>| async move {
            for entry in fs::read_dir(folder.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap() != "final" {
                    return Err("a temporary file is left".to_owned());
                }
                if fs::read_to_string(path).unwrap() != WHOLE {
                    return Err("the final file is torn".to_owned());
                }
            }
            Ok(())
        })
}

async fn write_and_rename(folder: Arc<TempDir>) -> std::io::Result<()> {
    let draft = folder.path().join("draft");
    tokio::fs::write(&draft, WHOLE).await?; // the write
    tokio::fs::rename(&draft, folder.path().join("final")).await // the rename
}

#[test]
fn tokio_fs_write_and_rename_leaves_a_draft() {
    let at = |mark| place("museum/files.rs", include_str!("files.rs"), mark);
    found_in_each_of_ten(&[&at("the write"), &at("the rename")], || {
        proof().expect_leak(|_, folder| write_and_rename(folder))
    });
}

/// A draft that becomes the final file if the body completes.
struct Draft(Arc<TempDir>);

impl Draft {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("draft")
    }
}

impl AsyncExit for Draft {
    type Error = std::io::Error;

    async fn exit(self, outcome: Outcome<'_>) -> std::io::Result<()> {
        if outcome.is_completed() {
            tokio::fs::rename(self.path(), self.0.path().join("final")).await
        } else {
            tokio::fs::remove_file(self.path()).await
        }
    }
}

async fn draft(folder: Arc<TempDir>) -> std::io::Result<Draft> {
    let draft = Draft(folder);
    tokio::fs::write(draft.path(), WHOLE).await?;
    Ok(draft)
}

#[test]
fn a_draft_as_a_shielded_context_leaves_nothing() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, folder| async move {
            with(shield(draft(folder)), async |draft: &mut Draft| {
                tokio::fs::metadata(draft.path()).await.map(drop)
            })
            .await
        });
        assert!(report.suspensions >= 2 && report.tenures > 0, "{report}");
    });
}

async fn temporary(folder: &Path) -> Result<(), async_tempfile::Error> {
    let mut file = TempFile::new_in(folder).await?; // the temporary file
    file.write_all(WHOLE.as_bytes()).await?;
    file.flush().await?;
    Ok(())
}

#[test]
fn async_tempfile_new_in_leaves_a_file_that_nobody_owns() {
    let at = place("museum/files.rs", include_str!("files.rs"), "the temporary file");
    found_in_each_of_ten(&[&at], || {
        proof().expect_leak(|_, folder| async move { temporary(folder.path()).await })
    });
}

#[test]
fn async_tempfile_in_a_shield_leaves_nothing() {
    idle_and_busy(|| {
        let report = proof().cancel_everywhere(|_, folder| async move {
            let enter = async move { TempFile::new_in(folder.path()).await.map_err(std::io::Error::other) };
            with(shield(released(enter)), async |file| {
                file.write_all(WHOLE.as_bytes()).await?;
                file.flush().await
            })
            .await
        });
        assert!(report.suspensions >= 2, "{report}");
    });
}
