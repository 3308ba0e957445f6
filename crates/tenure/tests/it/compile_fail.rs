//! What must not compile, and how it is told.

#[test]
fn law_28_and_others_that_the_types_keep() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
