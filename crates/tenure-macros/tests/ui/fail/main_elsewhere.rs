//! The attribute on functions that are no `main`.

#[tenure::main]
async fn start() {}

mod generic {
    #[tenure::main]
    async fn main<T>() {}
}

mod dangerous {
    #[tenure::main]
    async unsafe fn main() {}
}

#[tenure::main]
mod module {}

fn main() {}
