//! Automation's one door: up, down, test, bench, link, node, hub, load, deps, tidy.

fn main() {}
