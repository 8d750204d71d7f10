//! vlsm
fn main() {}
