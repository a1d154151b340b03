//! The scheduler: framework, plugins, cycle.
