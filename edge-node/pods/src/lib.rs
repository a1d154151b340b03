//! The pod machine: the life of a pod without I/O.
