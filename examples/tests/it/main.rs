//! Runs every example and compares what it prints with what it promises; `everywhere` drops it at every suspension.

mod everywhere;

use std::process::Command;

/// One test for each example: its program, and the lines it prints.
macro_rules! examples {
    ($($name:ident => $expected:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(env!(concat!("CARGO_BIN_EXE_", stringify!($name))), &$expected);
            }
        )*

        /// An example nobody runs is not an example.
        #[test]
        fn all_are_here() {
            let manifest = include_str!("../../Cargo.toml");
            let names = manifest.lines().filter(|line| line.starts_with("name = ")).skip(1);
            let names: Vec<_> = names.filter_map(|line| line.split('"').nth(1)).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

examples! {
    basic_resource => [
        "on", "off, Completed",
        "on", "off, Failed(Burnt)",
        "on", "off, Cancelled",
    ];
    rollback_on_error => [
        "commit [1]",
        "roll back [3]",
        "-4 is negative",
        "roll back [5]",
    ];
    managed_connection => [
        "connected to somewhere",
        "the body ended: Completed",
        "closed somewhere after 2 messages",
        "connected to elsewhere",
        "the body ended: Failed",
        "closed elsewhere after 1 messages",
        "no reply",
        "nowhere does not answer",
    ];
    exit_stack => [
        "open store",
        "open cache",
        "an asynchronous callback",
        "a callback",
        "close cache: it ended well",
        "close store: it ended well",
        "open store",
        "close store: it ended badly",
        "the mirror is away",
    ];
    pool_in_a_page => [
        "20 clients, 10 ms each, took 40ms",
        "reset, dirty: true",
    ];
    tcp_connection => [
        "client: connected",
        "server: goodbye after 4 bytes",
        "client: Completed, 0 bytes left unread",
    ];
    errors_in_the_exit => [
        "disk 1 fails",
        "reported: NotFound",
        "disk 2 fails",
        "unavailable: Disk(2); Failed(NotFound)",
    ];
    generator_with_arguments => [
        "workers = 4",
        "workers = 8",
        "workers = 4",
        "workers = 0",
        "retries = 3",
        "retries = 0",
    ];
    async_resource_pool => [
        "close 1: who knows what its user left behind",
        "connection lost",
        "close [2]: the pool is left",
    ];
    number_known_at_run_time => [
        "connect one", "connect two", "connect three",
        "connect late",
        "late is the last of 4",
        "close late",
        "close three", "close two", "close one",
        "connect one", "connect two",
        "close two", "close one",
        "down does not answer",
    ];
}

#[track_caller]
fn check(program: &str, expected: &[&str]) {
    let output = Command::new(program).output().expect("the example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}{errors}", output.status);
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{errors}");
    assert_eq!(errors, "", "an example is quiet on standard error");
}
