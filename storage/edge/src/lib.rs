//! The node's journal over Env: the truth of what runs here.
