//! Why evaluation has no value.

use std::borrow::Cow;
use std::fmt;

/// An error of evaluation. Expressions can absorb it (`||`, `&&`), unless the evaluation was stopped.
#[derive(Clone, PartialEq, Eq)]
pub struct EvalError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    message: Cow<'static, str>,
    stopped: bool,
}

impl EvalError {
    /// An error of the expression.
    pub fn new(message: impl Into<Cow<'static, str>>) -> EvalError {
        EvalError(Box::new(Inner { message: message.into(), stopped: false }))
    }

    /// The cost went over its limit.
    pub(crate) fn over_limit() -> EvalError {
        let message = "operation cancelled: actual cost limit exceeded".into();
        EvalError(Box::new(Inner { message, stopped: true }))
    }

    pub(crate) fn no_such_overload() -> EvalError {
        EvalError::new("no such overload")
    }

    pub(crate) fn no_such_key(key: impl fmt::Display) -> EvalError {
        EvalError::new(format!("no such key: {key}"))
    }

    pub(crate) fn conversion(from: &str, to: &str) -> EvalError {
        EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
    }

    /// Whether evaluation was stopped because it cost too much.
    pub fn is_over_limit(&self) -> bool {
        self.0.stopped
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.message)
    }
}

impl std::error::Error for EvalError {}
