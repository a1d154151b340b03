//! The whole system as a user runs it.
