//! Bounds of the host, each with its reason.

use std::time::Duration;

/// Memory of a guest when its container names no limit.
pub const DEFAULT_MEMORY_BYTES: usize = 64 << 20;
/// Time for one HTTP request, from its head to the end of the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long a request waits for a free instance before it is answered 503.
pub const SLOT_WAIT: Duration = Duration::from_secs(10);
/// How long a connection to a pod may stay without a request; an idle one costs 15 KiB.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// Connections to one pod; more wait in the kernel's queue.
pub const CONNECTIONS_PER_POD: usize = 512;
/// Largest head of a request, and read buffer of a connection.
pub const REQUEST_BUFFER: usize = 64 << 10;
/// Calls in work on one connection of an agent; more wait in the socket.
pub const CALLS_PER_CONNECTION: usize = 64;
/// Frames to an agent that wait to be sent; more make the sender wait.
pub const FRAME_QUEUE: usize = 64;
/// Events that a slow agent may miss before it is told to list again.
pub const EVENT_QUEUE: usize = 1024;
/// Time for an agent to say hello, and to take a frame.
pub const AGENT_PATIENCE: Duration = Duration::from_secs(10);
/// Connections of agents at one time, exec sessions included.
pub const AGENT_CONNECTIONS: usize = 256;
/// Bytes in flight in each direction of an exec session.
pub const EXEC_BUFFER: usize = 32 << 10;
/// How long a killed guest may take to unwind; it only waits for the epoch's next tick.
pub const KILL_WAIT: Duration = Duration::from_secs(5);
/// How long HTTP requests may take to finish when the host itself is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Longest id of a sandbox or container: it becomes the name of a file.
pub const MAX_ID: usize = 200;
/// Largest Wasm module, in bytes.
pub const MAX_MODULE: u64 = 256 << 20;
/// Longest text about a trap in a log, in bytes.
pub const MAX_TRAP_TEXT: usize = 4 << 10;
