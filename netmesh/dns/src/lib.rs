//! DNS of a node, from local state.
