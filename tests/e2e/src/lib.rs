//! The whole system as a user runs it: see `tests/it`. This library is empty; the crate exists for its test.
