//! The engine of a process.

use crate::config::MIN_SLOTS;
use crate::ticker::{Running, Ticker};
use crate::{EngineConfig, EngineError};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use wasmtime::Engine;

/// wasmtime with its pool, and the clock that interrupts guests.
#[derive(Debug)]
pub struct WasmEngine {
    engine: Engine,
    config: EngineConfig,
    slots: u32,
    fingerprint: String,
    ticker: Ticker,
}

impl WasmEngine {
    /// Sets up the engine. When the address space does not hold the pool, it is halved, down to four slots.
    ///
    /// # Errors
    /// When the settings contradict each other or not even the smallest pool fits.
    pub fn new(config: EngineConfig) -> Result<WasmEngine, EngineError> {
        let mut slots = config.slots.max(MIN_SLOTS);
        let engine = loop {
            match Engine::new(&config.for_running(slots)?) {
                Ok(engine) => break engine,
                Err(err) if slots > MIN_SLOTS => {
                    tracing::warn!(slots, err = format!("{err:#}"), "Halved the pool of instances");
                    slots = (slots / 2).max(MIN_SLOTS);
                }
                Err(err) => return Err(EngineError::Setup(format!("{err:#}"))),
            }
        };
        let fingerprint = fingerprint(&engine);
        let ticker = Ticker::start(&engine, config.tick)?;
        Ok(WasmEngine { engine, config, slots, fingerprint, ticker })
    }

    /// wasmtime's handle.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Instances that can be alive at one time.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Names the code that this engine accepts: its version, settings, processor and page size.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// To be held while a guest runs: epochs only advance meanwhile, so that an idle host never wakes.
    pub fn running(&self) -> Running {
        self.ticker.running()
    }

    /// Turns a span of time into epochs, at least one.
    pub fn epochs(&self, span: std::time::Duration) -> u64 {
        let tick = self.config.tick.as_micros().max(1);
        u64::try_from(span.as_micros() / tick).unwrap_or(u64::MAX).max(1)
    }
}

/// wasmtime's own compatibility hash, which covers its version, settings and the features of the processor,
/// with what else the code depends on.
fn fingerprint(engine: &Engine) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    rustix::param::page_size().hash(&mut hasher);
    let digest = hasher.0.finalize();
    digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// A hasher whose result is the same in every process and release of the compiler.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_follows_the_settings() {
        let small = EngineConfig { slots: 4, ..EngineConfig::default() };
        let first = WasmEngine::new(small.clone()).unwrap();
        let more_slots = WasmEngine::new(EngineConfig { slots: 8, ..small.clone() }).unwrap();
        let other_code = WasmEngine::new(EngineConfig { memory_reservation_bytes: 64 << 20, ..small }).unwrap();
        assert_eq!(first.fingerprint(), more_slots.fingerprint());
        assert_ne!(first.fingerprint(), other_code.fingerprint());
    }

    #[test]
    fn a_pool_that_does_not_fit_shrinks() {
        let huge = EngineConfig { slots: 1 << 14, memory_reservation_bytes: 64 << 30, ..EngineConfig::default() };
        let engine = WasmEngine::new(huge).unwrap();
        assert!(engine.slots() < 1 << 14, "{} slots", engine.slots());
    }
}
