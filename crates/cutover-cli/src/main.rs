//! The command `cutover`.
fn main() {}
