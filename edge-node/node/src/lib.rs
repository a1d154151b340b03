//! node_main: the node over Env and traits.
