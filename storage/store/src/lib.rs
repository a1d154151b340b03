//! The hub's store: one revision, transactions, history and the watch cache over a small log backend.
