//! What must not compile, with the message; and what must, under settings of a whole crate.
//!
//! The messages are those of the pinned toolchain. After a change: `TRYBUILD=overwrite cargo test -p tenure-macros`,
//! and read what has changed.

#[test]
fn mistakes_are_named_with_their_cure() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
