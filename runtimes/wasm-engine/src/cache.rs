//! Compiled code on disk: `<sha256 of the Wasm>-<fingerprint of the engine>.cwasm`, with its sum beside it.
//!
//! Everything here can be made again, so nothing is synced; what a power cut tore is found by its sum and
//! compiled anew.

use crate::{Code, Compiler, EngineError, WasmEngine, form_of};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The cache. Calls block: they read whole files, and compile.
#[derive(Debug)]
pub struct AotCache {
    dir: PathBuf,
    compiler: Compiler,
    /// One compilation of a digest at a time; entries go when nobody waits.
    busy: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl AotCache {
    /// Opens the cache in `dir`, which is made if it is missing, and forgets unfinished work.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(dir: &Path, compiler: Compiler) -> Result<AotCache, EngineError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
            .map_err(EngineError::file("cannot make", dir))?;
        for entry in fs::read_dir(dir).map_err(EngineError::file("cannot list", dir))?.flatten() {
            if entry.path().extension().is_some_and(|ext| ext == "tmp") {
                // Left over from a crash; should removing fail, it is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(AotCache { dir: dir.to_path_buf(), compiler, busy: Mutex::default() })
    }

    /// The code of the Wasm file `wasm`, whose content has the given digest (`sha256:…`): from the cache when an
    /// undamaged entry fits the engine, else compiled now.
    ///
    /// # Errors
    /// What is wrong with the module, or with the disk.
    pub fn load(&self, engine: &WasmEngine, digest: &str, wasm: &Path) -> Result<Code, EngineError> {
        let form = form_of(&head(wasm)?)?;
        let name = format!("{}-{}", digest.rsplit(':').next().unwrap_or(digest), engine.fingerprint());
        let turn = self.turn(&name);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let code = self.dir.join(format!("{name}.cwasm"));
        let sum = self.dir.join(format!("{name}.sum"));
        if is_sound(&code, &sum) {
            match Code::map(engine, form, &code) {
                Ok(code) => return Ok(code),
                Err(err) => tracing::warn!(digest, %err, "Refused a cached module"),
            }
        }
        self.compile(engine, wasm, &code, &sum)?;
        Code::map(engine, form, &code)
    }

    /// Removes all code of a digest, for whatever engine it was made. What is mapped stays so.
    pub fn forget(&self, digest: &str) {
        let begin = format!("{}-", digest.rsplit(':').next().unwrap_or(digest));
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&begin)) {
                // It only takes room.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn compile(&self, engine: &WasmEngine, wasm: &Path, code: &Path, sum: &Path) -> Result<(), EngineError> {
        let began = std::time::Instant::now();
        let tmp = code.with_extension("tmp");
        let compiled = self.compiler.compile(engine.config(), wasm, &tmp).and_then(|()| {
            let digest = sum_of(&tmp).map_err(EngineError::file("cannot read", &tmp))?;
            // The sum goes first: a crash in between leaves a sum that does not fit, and so a new compilation.
            fs::write(sum, digest).map_err(EngineError::file("cannot write", sum))?;
            fs::rename(&tmp, code).map_err(EngineError::file("cannot write", code))
        });
        if compiled.is_err() {
            let _ = fs::remove_file(&tmp);
        }
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(wasm = %wasm.display(), millis, ok = compiled.is_ok(), "Compiled a module");
        compiled
    }

    fn turn(&self, name: &str) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        busy.entry(name.to_string()).or_default().clone()
    }
}

fn head(wasm: &Path) -> Result<Vec<u8>, EngineError> {
    let mut head = Vec::new();
    File::open(wasm)
        .and_then(|file| file.take(8).read_to_end(&mut head))
        .map_err(EngineError::file("cannot read", wasm))?;
    Ok(head)
}

fn is_sound(code: &Path, sum: &Path) -> bool {
    match (fs::read_to_string(sum), sum_of(code)) {
        (Ok(written), Ok(found)) if written == found => true,
        (Ok(_), Ok(_)) => {
            tracing::warn!(code = %code.display(), "Found a damaged cached module");
            false
        }
        _ => false,
    }
}

fn sum_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("sha256:{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineConfig, Shape};

    /// `(module (func (export "_start")))`
    const EMPTY_COMMAND: &[u8] =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

    struct Setup {
        dir: tempfile::TempDir,
        engine: WasmEngine,
        cache: AotCache,
    }

    fn setup() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let engine = WasmEngine::new(EngineConfig { slots: 4, ..EngineConfig::default() }).unwrap();
        let cache = AotCache::open(&dir.path().join("aot"), Compiler::InProcess).unwrap();
        Setup { dir, engine, cache }
    }

    impl Setup {
        fn load(&self, bytes: &[u8]) -> Result<Code, EngineError> {
            let wasm = self.dir.path().join("module.wasm");
            fs::write(&wasm, bytes).unwrap();
            self.cache.load(&self.engine, &format!("sha256:{:x}", Sha256::digest(bytes)), &wasm)
        }

        fn entry(&self) -> PathBuf {
            let entries = fs::read_dir(self.dir.path().join("aot")).unwrap().map(|entry| entry.unwrap().path());
            entries.into_iter().find(|path| path.extension().is_some_and(|ext| ext == "cwasm")).unwrap()
        }
    }

    #[test]
    fn a_damaged_entry_is_compiled_anew() {
        let setup = setup();
        assert_eq!(setup.load(EMPTY_COMMAND).unwrap().shape(&setup.engine).unwrap(), Shape::CoreCommand);
        let entry = setup.entry();
        let good = fs::read(&entry).unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&entry);
        setup.load(EMPTY_COMMAND).unwrap();
        assert_eq!(inode(&entry), first, "a sound entry is used again");
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&entry, bad).unwrap();
        setup.load(EMPTY_COMMAND).unwrap();
        assert_eq!(fs::read(&entry).unwrap(), good);
    }

    #[test]
    fn modules_that_cannot_run_say_why() {
        let setup = setup();
        assert_eq!(setup.load(b"hello").unwrap_err().to_string(), "not a WebAssembly module: bad magic");
        let cut = setup.load(&EMPTY_COMMAND[..20]).unwrap_err();
        assert!(cut.to_string().starts_with("cannot compile the WebAssembly: "), "{cut}");
        assert!(cut.is_permanent());
        let nothing = setup.load(b"\0asm\x01\0\0\0").unwrap().shape(&setup.engine).unwrap_err();
        assert_eq!(nothing.to_string(), "unsupported WebAssembly: the core module exports no _start function");
        assert!(
            !fs::read_dir(setup.dir.path().join("aot"))
                .unwrap()
                .any(|entry| { entry.unwrap().path().extension().is_some_and(|ext| ext == "tmp") })
        );
    }
}
