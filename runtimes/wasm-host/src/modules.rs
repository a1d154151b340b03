//! Linked modules, shared by all containers that run the same code.
//!
//! A module stays in memory as long as a container holds it; loading it again takes the compiled code from disk.

use crate::guest::{CoreGuest, Guest};
use holdfast_wasm_engine::{AotCache, Code, EngineError, Shape, WasmEngine};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use wasmtime::component;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Code with its imports resolved, ready to be instantiated.
pub enum Linked {
    /// Answers HTTP.
    Http(ProxyPre<Guest>),
    /// Runs to its end.
    Command(CommandPre<Guest>),
    /// Runs to its end, preview 1.
    Core(wasmtime::InstancePre<CoreGuest>),
}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Linked::Http(_) => "Linked::Http",
            Linked::Command(_) => "Linked::Command",
            Linked::Core(_) => "Linked::Core",
        })
    }
}

/// The modules in memory.
pub struct Modules {
    engine: Arc<WasmEngine>,
    cache: AotCache,
    linker: component::Linker<Guest>,
    core_linker: wasmtime::Linker<CoreGuest>,
    loaded: Mutex<HashMap<String, Weak<Linked>>>,
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Modules({:?})", self.cache)
    }
}

impl Modules {
    /// Makes the linkers.
    ///
    /// # Errors
    /// When two interfaces clash, which is a bug.
    pub fn new(engine: Arc<WasmEngine>, cache: AotCache) -> Result<Modules, EngineError> {
        let setup = |err: wasmtime::Error| EngineError::Setup(format!("{err:#}"));
        let mut linker = component::Linker::new(engine.engine());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(setup)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(setup)?;
        let mut core_linker = wasmtime::Linker::new(engine.engine());
        wasmtime_wasi::p1::add_to_linker_async(&mut core_linker, |guest: &mut CoreGuest| &mut guest.wasi)
            .map_err(setup)?;
        Ok(Modules { engine, cache, linker, core_linker, loaded: Mutex::default() })
    }

    /// The module with this digest, from memory, from the cache, or compiled now from the file. Blocks.
    ///
    /// # Errors
    /// What is wrong with the module, or with the disk.
    pub fn load(&self, digest: &str, wasm: &Path) -> Result<Arc<Linked>, EngineError> {
        if let Some(linked) = self.in_memory(digest) {
            return Ok(linked);
        }
        let code = self.cache.load(&self.engine, digest, wasm)?;
        let linked = Arc::new(self.link(&code)?);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, linked| linked.strong_count() > 0);
        // Two containers that start at once may both have loaded it; they share the first.
        if let Some(first) = loaded.get(digest).and_then(Weak::upgrade) {
            return Ok(first);
        }
        loaded.insert(digest.to_string(), Arc::downgrade(&linked));
        Ok(linked)
    }

    /// Forgets compiled code. What runs of it goes on. Blocks.
    pub fn forget(&self, digest: &str) {
        self.cache.forget(digest);
    }

    fn in_memory(&self, digest: &str) -> Option<Arc<Linked>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(digest).and_then(Weak::upgrade)
    }

    fn link(&self, code: &Code) -> Result<Linked, EngineError> {
        let unsupported = |err: wasmtime::Error| EngineError::Unsupported(format!("{err:#}"));
        let shape = code.shape(&self.engine)?;
        match code {
            Code::Component(component) => {
                let pre = self.linker.instantiate_pre(component).map_err(unsupported)?;
                match shape {
                    Shape::Http => ProxyPre::new(pre).map(Linked::Http),
                    _ => CommandPre::new(pre).map(Linked::Command),
                }
            }
            Code::Module(module) => self.core_linker.instantiate_pre(module).map(Linked::Core),
        }
        .map_err(unsupported)
    }
}
