//! Device profiles as data: what an image or a build must know of a kind of box.
//!
//! It exists so that `xtask image`, `xtask dist` and the agent's defaults read one description. It owns the format
//! and the profiles that we ship (`data/*.toml`). It never looks at the machine that it runs on.

mod profile;

pub use profile::{Architecture, Boot, BootMethod, Error, Kernel, Memory, MemoryClass, Profile, WasmEngine};

/// The shipped files, by profile name.
const SHIPPED: &[(&str, &str)] = &[
    ("rpi-zero-2w", include_str!("../data/rpi-zero-2w.toml")),
    ("rpi3", include_str!("../data/rpi3.toml")),
    ("rpi4", include_str!("../data/rpi4.toml")),
    ("rpi5", include_str!("../data/rpi5.toml")),
    ("generic-arm64", include_str!("../data/generic-arm64.toml")),
    ("generic-armv7", include_str!("../data/generic-armv7.toml")),
    ("x86-64-uefi", include_str!("../data/x86-64-uefi.toml")),
];

/// All shipped profiles, in the order in which the manual lists them.
///
/// # Errors
/// A shipped file that does not parse or contradicts itself; the tests keep that from happening.
pub fn shipped() -> Result<Vec<Profile>, Error> {
    SHIPPED.iter().map(|(name, text)| Profile::parse(&format!("{name}.toml"), text)).collect()
}

/// The shipped profile of that name.
///
/// # Errors
/// `Unknown`, which lists the names that there are.
pub fn find(name: &str) -> Result<Profile, Error> {
    match SHIPPED.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Profile::parse(&format!("{name}.toml"), text),
        None => Err(Error::Unknown { name: name.to_owned(), known: SHIPPED.iter().map(|(n, _)| *n).collect() }),
    }
}
