//! The link between hub and node without I/O: control, sync, facts, heartbeat, calls.
