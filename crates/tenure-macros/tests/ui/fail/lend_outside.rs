//! `lend!` without a context.

async fn plain() {
    tenure::lend!(5);
}

fn main() {}
