//! The embedded log backend on fjall.
