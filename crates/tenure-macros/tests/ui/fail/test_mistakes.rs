//! Tests that cannot be run.

#[tenure::test]
fn not_async() {}

#[tenure::test]
async fn with_arguments(n: u8) {}

#[tenure::test]
async fn generic<T>() {}

#[tenure::test]
#[test]
async fn twice() {}

#[tenure::test]
#[tokio::test]
async fn of_two_runtimes() {}

#[tenure::test(start_paused = true, flavor = "multi_thread")]
async fn paused_threads() {}

#[tenure::test(worker_threads = 2)]
async fn workers_of_one_thread() {}

#[tenure::test(start_paused = "yes")]
async fn paused_in_words() {}

#[tenure::test(exit_timeout = "1s")]
async fn of_main() {}

fn main() {}
