//! A `main` that returns what no process ends with.

#[tenure::main]
async fn main() -> String {
    String::new()
}
