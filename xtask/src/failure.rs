//! How a failure becomes an exit code.

use std::fmt;
use std::time::Instant;

use anyhow::{Error, anyhow};

/// Something did not become true in time. `main` turns it into exit code 3.
#[derive(Debug)]
pub(crate) struct TimedOut(pub(crate) String);

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out: {}", self.0)
    }
}

impl std::error::Error for TimedOut {}

/// The error of something that did not happen: a time-out once the caller's own deadline has passed.
pub(crate) fn not_done(deadline: Instant, text: String) -> Error {
    if Instant::now() >= deadline { TimedOut(text).into() } else { anyhow!(text) }
}

/// 3 for a timeout anywhere in the chain, else 1.
pub(crate) fn exit_code(err: &Error) -> u8 {
    if err.chain().any(|cause| cause.is::<TimedOut>()) { 3 } else { 1 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context;

    use super::*;

    #[test]
    fn only_a_timeout_ends_with_3() {
        assert_eq!(exit_code(&anyhow!("broken")), 1);
        let late: anyhow::Result<()> = Err(TimedOut("node edge-1 is not Ready".into()).into());
        let late = late.context("importing into edge-1").context("up").unwrap_err();
        assert_eq!(exit_code(&late), 3);
        assert_eq!(format!("{late:#}"), "up: importing into edge-1: timed out: node edge-1 is not Ready");
    }

    #[test]
    fn what_fails_before_the_deadline_is_no_timeout() {
        let (past, future) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
        assert_eq!(exit_code(&not_done(past, "x".into())), 3);
        assert_eq!(exit_code(&not_done(future, "x".into())), 1);
    }
}
