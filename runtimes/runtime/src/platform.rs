//! Which of an image's platforms this machine takes (OCI image index).

use serde::Deserialize;

/// What a manifest is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// As Go names it: `linux`; `wasi…` for WebAssembly.
    pub os: String,
    /// As Go names it: `amd64`, `arm64`, `arm`; `wasm` for WebAssembly.
    pub architecture: String,
    /// Of the architecture: `v7`, `v8`.
    pub variant: String,
}

/// This machine's architecture in Go's words, as images have it.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// How well a platform fits this machine; higher is better, 0 not at all. Of an image for Linux and for WebAssembly,
/// `wasm_first` takes the latter.
pub fn rank(platform: Option<&Platform>, wasm_first: bool) -> u8 {
    match platform {
        None => 1,
        Some(p) if matches!(p.architecture.as_str(), "wasm" | "wasm32") || p.os.starts_with("wasi") => {
            if wasm_first {
                u8::MAX
            } else {
                2
            }
        }
        Some(p) if p.os == "linux" && p.architecture == host_architecture() => {
            variant(&p.architecture, &p.variant).map_or(0, |rank| 3 + rank)
        }
        Some(_) => 0,
    }
}

/// How well a variant fits; `None` when a machine of this architecture may not run it.
fn variant(architecture: &str, variant: &str) -> Option<u8> {
    match (architecture, variant) {
        ("arm", "v7") => cfg!(target_feature = "v7").then_some(3),
        ("arm", "v6" | "") => Some(2),
        ("arm", "v5") => Some(1),
        ("arm64", "v8" | "") | ("amd64", "v1" | "") => Some(2),
        ("arm64" | "amd64" | "arm", _) => None,
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(os: &str, architecture: &str, variant: &str) -> Platform {
        Platform { os: os.into(), architecture: architecture.into(), variant: variant.into() }
    }

    #[test]
    fn this_machine_comes_before_wasm_before_unnamed() {
        let own = platform("linux", host_architecture(), "");
        let wasm = platform("wasip2", "wasm", "");
        assert!(rank(Some(&own), false) > rank(Some(&wasm), false));
        assert!(rank(Some(&wasm), true) > rank(Some(&own), true));
        assert!(rank(Some(&wasm), false) > rank(None, false));
        for other in [platform("linux", "s390x", ""), platform("windows", host_architecture(), ""), Platform::default()]
        {
            assert_eq!(rank(Some(&other), false), 0);
        }
        // What needs instructions that not every such machine has.
        assert_eq!(variant("amd64", "v3"), None);
        assert_eq!(variant("arm64", "v9"), None);
        assert!(variant("arm", "v6") > variant("arm", "v5"));
    }
}
