//! One profile: its TOML form and what must agree within it.

use serde::Deserialize;

/// What went wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no profile: a syntax error, an unknown key, a wrong value. The cause names line and key.
    #[error("{file} is not a device profile")]
    Parse {
        /// The file's name.
        file: String,
        /// What the TOML reader found.
        source: toml::de::Error,
    },
    /// Two fields contradict each other, or one is out of range.
    #[error("{file}: {field} {reason}")]
    Invalid {
        /// The file's name.
        file: String,
        /// The field at fault.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// No shipped profile has that name.
    #[error("no device profile {name:?}; there are {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that there are.
        known: Vec<&'static str>,
    },
}

/// A kind of box.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// A DNS label, as `--device` takes it.
    pub name: String,
    /// For people.
    pub description: String,
    /// The Rust target that the box's programs are built for; one of `cross.toml`.
    pub target: String,
    /// The architecture's name in OCI images and `kubernetes.io/arch`.
    pub architecture: Architecture,
    /// How Wasm runs there.
    pub wasm_engine: WasmEngine,
    /// How much memory there is to plan with.
    pub memory: Memory,
    /// What its kernel is like.
    pub kernel: Kernel,
    /// How it boots.
    pub boot: Boot,
}

/// OCI's architecture names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM (v7, hard float).
    Arm,
    /// 64-bit x86.
    Amd64,
}

/// How Wasm code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WasmEngine {
    /// Compiled to machine code by Cranelift.
    Native,
    /// Interpreted, where Cranelift has no code generator.
    Pulley,
}

/// The memory that a box of this kind has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Picks caches, pools and budgets.
    pub class: MemoryClass,
    /// MiB that Linux sees on the smallest model (the firmware keeps some).
    pub min_mib: u32,
}

/// Classes of memory; each is a set of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryClass {
    /// Below 768 MiB: Wasm is never compiled on the box.
    Tiny,
    /// 1 GB.
    Small,
    /// 1 GB and more, most have 4.
    Medium,
    /// 2 GB and more.
    Large,
}

/// What programs must know of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Bytes a page: 4096 or 16384.
    pub page_size: u32,
    /// Bits of a user address: how much the Wasm pool may reserve.
    pub address_bits: u8,
    /// The serial console's device.
    pub console: String,
}

/// How the box comes from power-on to Linux.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Which firmware.
    pub method: BootMethod,
    /// The device tree's file, where the firmware does not bring its own.
    #[serde(default)]
    pub device_tree: Option<String>,
}

/// Firmware families that images are laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// The Raspberry Pi's own firmware: `config.txt` on a FAT partition, `tryboot` for A/B.
    RaspberryPi,
    /// UEFI with a boot loader on an EFI system partition.
    Uefi,
    /// U-Boot with a boot script.
    UBoot,
}

impl Profile {
    /// Reads and checks a profile; `file` is named in errors.
    ///
    /// # Errors
    /// `Parse` or `Invalid`.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let profile: Self = toml::from_str(text).map_err(|source| Error::Parse { file: file.to_owned(), source })?;
        match profile.contradiction() {
            Some((field, reason)) => Err(Error::Invalid { file: file.to_owned(), field, reason }),
            None => Ok(profile),
        }
    }

    fn contradiction(&self) -> Option<(&'static str, String)> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(label) {
            return Some(("name", format!("{:?} is no DNS label", self.name)));
        }
        let prefix = match self.architecture {
            Architecture::Arm64 => "aarch64-",
            Architecture::Arm => "armv7-",
            Architecture::Amd64 => "x86_64-",
        };
        if !self.target.starts_with(prefix) {
            return Some(("target", format!("is {}, but the architecture wants {prefix}…", self.target)));
        }
        let pulley = self.architecture == Architecture::Arm;
        if pulley != (self.wasm_engine == WasmEngine::Pulley) {
            let right = if pulley { "pulley: there is no code generator" } else { "native" };
            return Some(("wasm_engine", format!("must be {right} for this architecture")));
        }
        if !matches!(self.kernel.page_size, 4096 | 16384) {
            return Some(("kernel.page_size", format!("is {}, but must be 4096 or 16384", self.kernel.page_size)));
        }
        if !(32..=57).contains(&self.kernel.address_bits) {
            return Some(("kernel.address_bits", format!("is {}, but must be 32 to 57", self.kernel.address_bits)));
        }
        let floor = match self.memory.class {
            MemoryClass::Tiny => 256,
            MemoryClass::Small | MemoryClass::Medium => 768,
            MemoryClass::Large => 1536,
        };
        if self.memory.min_mib < floor {
            return Some(("memory.min_mib", format!("is {}, but this class begins at {floor}", self.memory.min_mib)));
        }
        if (self.boot.method == BootMethod::RaspberryPi) != self.boot.device_tree.is_some() {
            return Some(("boot.device_tree", "goes with the method raspberry-pi, and only with it".to_owned()));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../data/rpi4.toml");

    fn error(text: &str) -> String {
        let err = Profile::parse("x.toml", text).unwrap_err();
        let cause = std::error::Error::source(&err).map(|c| format!(": {c}")).unwrap_or_default();
        format!("{err}{cause}")
    }

    #[test]
    fn a_good_profile_is_read() {
        let profile = Profile::parse("rpi4.toml", GOOD).unwrap();
        assert_eq!((profile.architecture, profile.wasm_engine), (Architecture::Arm64, WasmEngine::Native));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = error(&GOOD.replace("wasm_engine", "wasm_engin"));
        assert!(text.contains("x.toml") && text.contains("wasm_engin") && text.contains("line 6"), "{text}");
    }

    #[test]
    fn contradictions_name_the_field() {
        for (from, to, field) in [
            ("aarch64-", "x86_64-", "target"),
            ("\"native\"", "\"pulley\"", "wasm_engine"),
            ("page_size = 4096", "page_size = 512", "kernel.page_size"),
            ("address_bits = 39", "address_bits = 16", "kernel.address_bits"),
            ("min_mib = 896", "min_mib = 100", "memory.min_mib"),
            ("\"raspberry-pi\"", "\"uefi\"", "boot.device_tree"),
            ("name = \"rpi4\"", "name = \"RPi 4\"", "name"),
        ] {
            let text = error(&GOOD.replacen(from, to, 1));
            assert!(text.contains(field), "{from} → {to}: {text}");
        }
    }
}
