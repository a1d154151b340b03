//! Settings of the engine; the defaults suit a box with 512 MB of memory.

use crate::EngineError;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Core instances that one component may have (a Rust guest needs 4, a Python guest about 20).
const CORE_INSTANCES_PER_COMPONENT: u32 = 40;
/// Core instances in all, for each slot of the pool: most components need few.
const CORE_INSTANCES_PER_SLOT: u32 = 8;
/// Linear memories for each slot.
const MEMORIES_PER_SLOT: u32 = 2;
/// Tables for each slot.
const TABLES_PER_SLOT: u32 = 6;
/// Elements in a table; the pool reserves 8 bytes for each.
const TABLE_ELEMENTS: usize = 20_000;
/// Largest metadata of an instance.
const INSTANCE_SIZE_BYTES: usize = 1 << 20;
/// Below this many slots the engine gives up.
pub(crate) const MIN_SLOTS: u32 = 4;

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineConfig {
    /// Instances alive at one time: running commands, HTTP requests in work, exec sessions.
    /// Halved until the address space suffices.
    pub slots: u32,
    /// Address space for one linear memory, which is also the most that a guest can have.
    pub memory_reservation_bytes: u64,
    /// Unmapped space behind a linear memory.
    pub memory_guard_bytes: u64,
    /// Memory of a free slot that is not given back to the kernel.
    pub keep_resident_bytes: usize,
    /// Stack of the guest.
    pub wasm_stack_bytes: usize,
    /// Stack of guest and host calls together.
    pub async_stack_bytes: usize,
    /// How often a busy guest is asked whether its time is up.
    pub tick: Duration,
    /// Memory that a compilation may take.
    pub compile_memory_bytes: u64,
    /// Time that a compilation may take.
    pub compile_timeout: Duration,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            slots: 64,
            memory_reservation_bytes: 256 << 20,
            memory_guard_bytes: 64 << 10,
            keep_resident_bytes: 64 << 10,
            wasm_stack_bytes: 512 << 10,
            async_stack_bytes: 1 << 20,
            tick: Duration::from_millis(10),
            compile_memory_bytes: 512 << 20,
            compile_timeout: Duration::from_secs(120),
        }
    }
}

impl EngineConfig {
    /// wasmtime's configuration for compiling: all that decides the code, and no pool.
    pub(crate) fn for_compiling(&self) -> Config {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .wasm_component_model(true)
            .cranelift_opt_level(OptLevel::Speed)
            .memory_reservation(self.memory_reservation_bytes)
            .memory_reservation_for_growth(0)
            .memory_may_move(false)
            .memory_guard_size(self.memory_guard_bytes)
            .max_wasm_stack(self.wasm_stack_bytes)
            .async_stack_size(self.async_stack_bytes);
        config
    }

    /// The same with a pool of `slots`.
    pub(crate) fn for_running(&self, slots: u32) -> Result<Config, EngineError> {
        let memory_bytes = usize::try_from(self.memory_reservation_bytes)
            .map_err(|_| EngineError::Setup("memory_reservation_bytes exceeds the address space".into()))?;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT).max(CORE_INSTANCES_PER_COMPONENT))
            .total_memories(slots.saturating_mul(MEMORIES_PER_SLOT))
            .total_tables(slots.saturating_mul(TABLES_PER_SLOT).max(CORE_INSTANCES_PER_COMPONENT))
            .total_stacks(slots)
            .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
            .max_memories_per_component(MEMORIES_PER_SLOT * MIN_SLOTS)
            .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT)
            .max_memories_per_module(1)
            .max_tables_per_module(8)
            .max_component_instance_size(INSTANCE_SIZE_BYTES)
            .max_core_instance_size(INSTANCE_SIZE_BYTES)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(memory_bytes)
            .max_unused_warm_slots(slots.min(16))
            .linear_memory_keep_resident(self.keep_resident_bytes)
            .table_keep_resident(4 << 10)
            .async_stack_keep_resident(16 << 10);
        let mut config = self.for_compiling();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Ok(config)
    }

    /// As one word, for the command line of the compiling child.
    ///
    /// # Errors
    /// Never in practice; the encoder's words otherwise.
    pub fn to_word(&self) -> Result<String, EngineError> {
        let bytes = postcard::to_stdvec(self).map_err(|err| EngineError::Setup(err.to_string()))?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads what [`EngineConfig::to_word`] wrote.
    ///
    /// # Errors
    /// When the word is damaged or from another version.
    pub fn from_word(word: &str) -> Result<EngineConfig, EngineError> {
        let damaged = || EngineError::Setup("damaged engine configuration".into());
        if !word.is_ascii() || !word.len().is_multiple_of(2) {
            return Err(damaged());
        }
        let bytes: Option<Vec<u8>> =
            (0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).ok()).collect();
        postcard::from_bytes(&bytes.ok_or_else(damaged)?).map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_travels_as_a_word() {
        let config = EngineConfig { slots: 7, ..EngineConfig::default() };
        assert_eq!(EngineConfig::from_word(&config.to_word().unwrap()).unwrap(), config);
        assert!(EngineConfig::from_word("zz").is_err());
        assert!(EngineConfig::from_word("0").is_err());
    }
}
