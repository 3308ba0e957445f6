//! A `main` whose one argument is not the token.

#[tenure::main]
async fn main(arguments: Vec<String>) {}
