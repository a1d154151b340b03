//! Life without the link, with real programs: the cases are in `tests/it`. This library is empty; the crate exists for
//! its test.
