//! Arguments, right and wrong.

use crate::support::bank::Site;

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
        (
            vec!["--serve", "here"],
            "invalid value 'here' for '--serve <ADDR>': invalid socket address syntax; try --help",
        ),
        (
            vec!["--serve", "127.0.0.1:0", "--clients", "3"],
            "the argument '--serve <ADDR>' cannot be used with '--clients <N>'; try --help",
        ),
        (
            vec!["--database", "a", "--database-url", "mysql://localhost/b"],
            "the argument '--database <PATH>' cannot be used with '--database-url <URL>'; try --help",
        ),
        (
            vec!["--database-url", "here"],
            "invalid value 'here' for '--database-url <URL>': it is no URL: relative URL without a base; try --help",
        ),
        (
            vec!["--database-url", "sqlite:///bank"],
            "invalid value 'sqlite:///bank' for '--database-url <URL>': it begins neither with postgres:// nor with \
             mysql://; try --help",
        ),
        (
            vec!["--database-url", "postgres://localhost"],
            "invalid value 'postgres://localhost' for '--database-url <URL>': it names no database, as in \
             postgres://user@host/database; try --help",
        ),
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
    for word in [
        "--clients",
        "--transfers",
        "--database",
        "--database-url",
        "--serve",
        "--seed",
        "--help",
        "exit code",
        "130",
        "143",
    ] {
        assert!(ended.table.contains(word), "{word} is missing in {}", ended.table);
    }
}
