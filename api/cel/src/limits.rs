//! Bounds of expressions and of what evaluating them may use.

/// Longest source, in code points (cel-go's default).
pub const MAX_SOURCE: usize = 100_000;
/// Deepest nesting of an expression, macros expanded: checker and evaluator recurse as deep (cel-go's default).
pub const MAX_DEPTH: usize = 250;
/// Most nodes of an expression once its macros are expanded. `optMap` writes its target twice, so nested ones double.
pub const MAX_NODES: usize = 200_000;
/// Issues told of one expression (cel-go's default).
pub const MAX_ISSUES: usize = 100;
/// Memory that one compiled pattern may take, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1 << 20;
/// The same for a pattern that is no literal: it is compiled at each evaluation.
pub const MAX_MADE_PATTERN_BYTES: usize = 64 << 10;
/// Largest cost of one evaluation (`PerCallLimit` of upstream).
pub const PER_CALL_COST: u64 = 1_000_000;
/// Largest cost of all evaluations for one object (`RuntimeCELCostBudget` of upstream).
pub const BUDGET: u64 = 10_000_000;
/// Largest cost of all match conditions of one webhook or policy (`RuntimeCELCostBudgetMatchConditions` of upstream).
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
/// Largest estimated cost of one rule of a CustomResourceDefinition, as often as it may run for one object
/// (`StaticEstimatedCostLimit` of upstream).
pub const ESTIMATED_RULE_COST: u64 = 10_000_000;
/// Largest estimated cost of all rules of a schema (`StaticEstimatedCRDCostLimit` of upstream).
pub const ESTIMATED_SCHEMA_COST: u64 = 100_000_000;
/// The largest request that estimates reckon with, in bytes (`MaxRequestSizeBytes` of upstream).
pub const REQUEST_BYTES: u64 = 3 << 20;
/// Longest list that a function makes, which takes memory before its cost is known, and most parts of a value that is
/// written as JSON.
pub const MAX_MADE_ELEMENTS: usize = 1_000_000;
/// Longest string that one function makes, in bytes: `replace` and `format` could ask for any.
pub const MAX_MADE_BYTES: usize = 16 << 20;

const _: () = assert!(PER_CALL_COST <= MATCH_CONDITIONS_BUDGET && MATCH_CONDITIONS_BUDGET <= BUDGET);
