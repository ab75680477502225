//! The viewer's window.

fn main() {}
