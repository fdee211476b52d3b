//! Kernels whose instructions the benchmark gate counts under callgrind.
fn main() {}
