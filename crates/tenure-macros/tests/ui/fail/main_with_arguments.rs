//! A `main` with more than the token.

#[tenure::main]
async fn main(shutdown: tenure::CancelToken, arguments: Vec<String>) {}
