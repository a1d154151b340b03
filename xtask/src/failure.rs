//! How a failure becomes an exit code.

use std::fmt;

use anyhow::Error;

/// Something did not become true in time. `main` turns it into exit code 3.
#[derive(Debug)]
pub(crate) struct TimedOut(pub(crate) String);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out: {}", self.0)
    }
}

impl std::error::Error for TimedOut {}

/// 3 for a timeout anywhere in the chain, else 1.
pub(crate) fn exit_code(err: &Error) -> u8 {
    if err.chain().any(|cause| cause.is::<TimedOut>()) { 3 } else { 1 }
}
