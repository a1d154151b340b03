//! What containers use of the machine.

/// What a running container uses now. A field is `None` where the kernel does not account for it, or the runtime cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// As given at its creation.
    pub id: String,
    /// Time on CPUs since its start, in nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// Memory.
    pub memory: Option<MemoryUsage>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Memory of a container, in bytes. A field is `None` where it is not accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that is charged to it, page cache included.
    pub usage: u64,
    /// What cannot be taken back without harm: all but the inactive page cache. Eviction and `kubectl top` go by this.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: Option<u64>,
    /// Page faults since its start, a count.
    pub page_faults: Option<u64>,
    /// Those that had to read from a disk.
    pub major_page_faults: Option<u64>,
    /// The most it may have; `None` without a limit.
    pub limit: Option<u64>,
}
