//! The Common Expression Language as Kubernetes 1.36 uses it: rules of custom resources, admission policies, match
//! conditions.
//!
//! [`compile`] takes an expression and the [`Declarations`] of its variables, parses it, replaces its macros, checks its
//! types and plans its evaluation; a [`Program`] then evaluates any number of times over [`Bindings`], within a
//! [`Budget`] of cost. Documents are evaluated where they are, never copied.
//!
//! What is evaluated, what it costs and what is said of errors follows cel-go and Kubernetes' libraries, since rules are
//! written against those. Objects are made (`Object{…}`) where the [`TypeProvider`] says so. What is not built is an undeclared
//! reference on compiling.
//!
//! Pure: no I/O, no clock, no randomness. [`limits`] bounds everything that an expression may take.

mod check;
mod cost;
mod error;
mod eval;
mod functions;
mod issue;
pub mod kubernetes;
pub mod limits;
pub mod names;
mod plan;
mod program;
mod syntax;
mod types;
pub mod value;

pub use cost::{CostEstimate, Node, SizeEstimate, SizeEstimator, UnknownSizes};
pub use error::EvalError;
pub use issue::{Issue, display};
pub use program::{Bindings, Budget, Declarations, Program, compile};
pub use syntax::normal_form;
pub use types::{Field, ListKeys, ListType, MapType, ObjectTypes, Type, TypeProvider, Types};
pub use value::Value;
