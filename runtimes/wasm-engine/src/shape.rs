//! What a file of bytes is, and what its code offers.

use crate::{EngineError, WasmEngine, sys};
use std::path::Path;
use wasmtime::component::Component;
use wasmtime::{ExternType, Module};

/// Binary form of Wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module.
    Module,
}

/// What a pod can do with the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A component that answers HTTP requests (`wasi:http/incoming-handler`).
    Http,
    /// A component that runs to its end (`wasi:cli/run`).
    Command,
    /// A core module that runs to its end (`_start`, preview 1).
    CoreCommand,
}

/// Tells the form by the first eight bytes.
///
/// # Errors
/// [`EngineError::NotWasm`] with what is wrong with them.
pub fn form_of(bytes: &[u8]) -> Result<Form, EngineError> {
    let not = |why: &str| Err(EngineError::NotWasm(why.to_string()));
    match bytes.get(..8) {
        _ if bytes.is_empty() => not("the file is empty"),
        _ if !bytes.starts_with(b"\0asm") => not("bad magic"),
        None => not("the file ends within its header"),
        Some([_, _, _, _, 1, 0, 0, 0]) => Ok(Form::Module),
        Some([_, _, _, _, 13, 0, 1, 0]) => Ok(Form::Component),
        Some([_, _, _, _, a, b, c, d]) => not(&format!("unknown version {a:02x}{b:02x}{c:02x}{d:02x}")),
        Some(_) => not("bad magic"),
    }
}

/// Code ready to be instantiated, mapped from a checked file.
#[derive(Clone)]
pub enum Code {
    /// A component.
    Component(Component),
    /// A core module.
    Module(Module),
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Code::Component(_) => "Code::Component",
            Code::Module(_) => "Code::Module",
        })
    }
}

impl Code {
    /// Maps what this crate compiled. The caller has checked the file's sum.
    pub(crate) fn map(engine: &WasmEngine, form: Form, path: &Path) -> Result<Code, EngineError> {
        let code = match form {
            Form::Component => sys::map_component(engine.engine(), path).map(Code::Component),
            Form::Module => sys::map_module(engine.engine(), path).map(Code::Module),
        };
        code.map_err(|err| EngineError::Setup(format!("cannot map compiled code: {err:#}")))
    }

    /// What the code offers.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when it is nothing that a pod can run.
    pub fn shape(&self, engine: &WasmEngine) -> Result<Shape, EngineError> {
        match self {
            Code::Component(component) => {
                let kind = component.component_type();
                let names: Vec<&str> = kind.exports(engine.engine()).map(|(name, _)| name).collect();
                let exports = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
                if exports("wasi:http/incoming-handler@0.2.") {
                    Ok(Shape::Http)
                } else if exports("wasi:cli/run@0.2.") {
                    Ok(Shape::Command)
                } else if exports("wasi:http/") || exports("wasi:cli/") {
                    Err(EngineError::Unsupported(format!("only WASI 0.2 runs here, the component exports {names:?}")))
                } else {
                    Err(EngineError::Unsupported(format!(
                        "the component exports neither wasi:http/incoming-handler nor wasi:cli/run but {names:?}"
                    )))
                }
            }
            Code::Module(module) => match module.get_export("_start") {
                Some(ExternType::Func(_)) => Ok(Shape::CoreCommand),
                _ => Err(EngineError::Unsupported("the core module exports no _start function".into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_wasm_say_why() {
        for (bytes, text) in [
            (&b""[..], "not a WebAssembly module: the file is empty"),
            (b"#!/bin/sh\n", "not a WebAssembly module: bad magic"),
            (b"\0as", "not a WebAssembly module: bad magic"),
            (b"\0asm\x01", "not a WebAssembly module: the file ends within its header"),
            (b"\0asm\x02\0\0\0", "not a WebAssembly module: unknown version 02000000"),
        ] {
            assert_eq!(form_of(bytes).unwrap_err().to_string(), text);
        }
        assert_eq!(form_of(b"\0asm\x01\0\0\0").unwrap(), Form::Module);
        assert_eq!(form_of(b"\0asm\x0d\0\x01\0").unwrap(), Form::Component);
    }
}
