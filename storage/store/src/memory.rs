//! The watch cache over a [`crate::LogBackend`].
