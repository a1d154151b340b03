//! Device profiles as data.
