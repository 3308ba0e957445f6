//! Arguments, right and wrong.

use crate::bank::Site;

#[test]
fn a_wrong_argument_is_told_in_one_sentence() {
    for (arguments, sentence) in [
        (vec!["--clients", "0"], "invalid value '0' for '--clients <N>': 0 is not in 1..=10000; try --help"),
        (
            vec!["--clients", "many"],
            "invalid value 'many' for '--clients <N>': invalid digit found in string; try --help",
        ),
        (vec!["--transfers", "-1"], "unexpected argument '-1' found; try --help"),
        (vec!["--seed"], "a value is required for '--seed <NUMBER>' but none was supplied; try --help"),
        (vec!["--rob"], "unexpected argument '--rob' found; try --help"),
        (vec!["money"], "unexpected argument 'money' found; try --help"),
    ] {
        Site::new().run(arguments).assert_refused(2, sentence);
    }
}

#[test]
fn help_names_every_argument_and_the_exit_codes() {
    let ended = Site::new().run(["--help"]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.complaints, "");
    for word in ["--clients", "--transfers", "--database", "--seed", "--help", "exit code", "130"] {
        assert!(ended.table.contains(word), "{word} is missing in {}", ended.table);
    }
}
