//! Benchmarks: each prints a JSON line a figure.

fn main() {}
