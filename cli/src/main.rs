//! The `gpumemprof` command.

fn main() {}
