//! The table of what is noticed, and when: each of its lines names a test, and that test exists.

use std::collections::HashSet;
use std::path::Path;

#[test]
fn each_line_of_the_table_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut known = HashSet::new();
    for file in std::fs::read_dir(tests).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let next = lines.peek().and_then(|next| next.strip_prefix("fn "));
            if let (true, Some(name)) = (line.starts_with("#[test]"), next) {
                known.insert(name.split('(').next().unwrap().to_owned());
            }
        }
    }
    let table = include_str!("../../docs/noticed.md");
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| test |"));
    let mut count = 0;
    for row in rows {
        let test = row.trim_end_matches([' ', '|']).rsplit("| ").next().unwrap();
        let test = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
        let test = test.unwrap_or_else(|| panic!("without a test: {row}"));
        assert!(known.contains(test), "there is no test {test}: {row}");
        count += 1;
    }
    assert!(count >= 20, "the table was not read: {count} lines");
}
