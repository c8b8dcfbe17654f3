//! bellbuoy
fn main() {}
