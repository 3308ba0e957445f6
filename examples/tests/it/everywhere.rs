//! Every example, and the first one of the README, dropped at every suspension: nothing leaks.

use tenure_test::{Flavour, Proof};

/// One test for each example: its file, and the proof it has to pass.
macro_rules! everywhere {
    ($($name:ident $(($argument:expr))? in $file:literal, $proof:expr;)*) => {
        $(
            #[expect(dead_code, reason = "what `main` alone uses")]
            #[path = $file]
            mod $name;

            #[test]
            fn $name() {
                let report = $proof.cancel_everywhere(|_recorder| $name::example($($argument)?));
                assert!(report.suspensions >= 1, "{report}");
            }
        )*

        #[test]
        fn all_are_dropped_everywhere() {
            let manifest = include_str!("../../Cargo.toml");
            let names = manifest.lines().filter(|line| line.starts_with("name = ")).skip(1);
            let names: Vec<_> = names.filter_map(|line| line.split('"').nth(1)).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

everywhere! {
    basic_resource in "../../01_basic_resource.rs", Proof::new();
    rollback_on_error in "../../02_rollback_on_error.rs", Proof::new();
    managed_connection in "../../03_managed_connection.rs", Proof::new();
    exit_stack in "../../04_exit_stack.rs", Proof::new();
    // Its times are those of a paused clock.
    pool_in_a_page in "../../05_pool_in_a_page.rs", Proof::new().flavour(Flavour::CurrentThread);
    tcp_connection in "../../06_tcp_connection.rs", Proof::new().real_clock();
    errors_in_the_exit in "../../07_errors_in_the_exit.rs", Proof::new();
    generator_with_arguments in "../../08_generator_with_arguments.rs", Proof::new();
    async_resource_pool in "../../09_async_resource_pool.rs", Proof::new();
    number_known_at_run_time(["one", "two"].map(String::from).to_vec())
        in "../../10_number_known_at_run_time.rs", Proof::new();
}

/// The README's first example: the file that is tested is the text that is read.
mod readme {
    use std::sync::Arc;
    use std::time::Duration;

    use tempfile::TempDir;
    use tenure_test::Proof;

    mod draft {
        include!("readme_draft.rs");

        pub(super) async fn answered(path: PathBuf) -> Result<()> {
            answer(path).await
        }

        /// It is a program of its own, too.
        #[test]
        fn runs() -> Result<()> {
            main()?;
            std::fs::remove_file(std::env::temp_dir().join("answer.txt"))
        }
    }

    #[test]
    fn the_text_is_that_of_the_readme() {
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("```rust\n{}```", include_str!("readme_draft.rs"))));
    }

    #[test]
    fn draft_leaves_a_whole_file_or_none() {
        let proof = Proof::new()
            .real_clock()
            .suspend_often()
            .check_within(Duration::from_secs(5))
            .set_up(async || TempDir::new().expect("there is room for a folder"))
            .check(|_run, folder: Arc<TempDir>| async move {
                let is_there = |name: &str| folder.path().join(name).exists();
                let text = std::fs::read_to_string(folder.path().join("answer.txt"));
                match text {
                    _ if is_there("answer.draft") => Err("a draft is left".to_owned()),
                    Ok(text) if text != "42" => Err(format!("half an answer: {text:?}")),
                    _ => Ok(()),
                }
            });
        let report = proof.cancel_everywhere(|_recorder, folder: Arc<TempDir>| async move {
            draft::answered(folder.path().join("answer.draft")).await
        });
        assert!(report.suspensions >= 3, "{report}");
    }
}
