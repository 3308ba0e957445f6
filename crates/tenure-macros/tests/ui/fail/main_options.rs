//! What stands in the parentheses of `main`.

mod unknown {
    #[tenure::main(flavour = "multi_thread")]
    async fn main() {}
}

mod no_such_flavor {
    #[tenure::main(flavor = "single")]
    async fn main() {}
}

mod flavor_without_quotes {
    #[tenure::main(flavor = multi_thread)]
    async fn main() {}
}

mod flavor_without_value {
    #[tenure::main(flavor)]
    async fn main() {}
}

mod twice {
    #[tenure::main(worker_threads = 1, worker_threads = 2)]
    async fn main() {}
}

mod no_workers {
    #[tenure::main(worker_threads = 0)]
    async fn main() {}
}

mod workers_in_words {
    #[tenure::main(worker_threads = "four")]
    async fn main() {}
}

mod contradiction {
    #[tenure::main(flavor = "current_thread", worker_threads = 4)]
    async fn main() {}
}

mod no_unit {
    #[tenure::main(exit_timeout = "10")]
    async fn main() {}
}

mod no_time {
    #[tenure::main(exit_timeout = "soon")]
    async fn main() {}
}

mod zero {
    #[tenure::main(exit_timeout = "0s")]
    async fn main() {}
}

mod number {
    #[tenure::main(exit_timeout = 10)]
    async fn main() {}
}

mod too_long {
    #[tenure::main(exit_timeout = "99999999999999999999s")]
    async fn main() {}
}

mod of_the_test {
    #[tenure::main(start_paused = true)]
    async fn main() {}
}

mod neither_true_nor_false {
    #[tenure::main(success_after_signal = "yes")]
    async fn main() {}
}

fn main() {}
