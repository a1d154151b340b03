//! The edge agent; also the CNI plugin, by argv[0].

fn main() {}
