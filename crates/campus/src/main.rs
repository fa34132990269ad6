//! Campus.
fn main() {}
