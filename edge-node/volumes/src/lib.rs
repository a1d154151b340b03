//! Volumes of pods on the node, and what else a container gets from its spec: environment, mounts, `/etc` files.
//!
//! [`VolumeManager`] is blocking and keeps no state beside the folders themselves: `<root>/<pod uid>/volumes/…`.
//! Objects come through [`VolumeObjects`], so nothing here knows of hub, link or store.
//! Volumes from images are mounted by the runtime that has the image; here is only where. Not implemented, and refused with a
//! clear text: persistent volume claims, CSI, NFS and all other storage systems, generic ephemeral volumes, pod certificates,
//! cluster trust bundles.

mod atomic;
mod empty_dir;
pub mod env;
mod env_file;
pub mod etc;
pub mod fields;
mod host_path;
pub mod images;
pub mod manager;
pub mod mounts;
pub mod objects;
mod payload;
pub mod usage;

pub use env::{EnvSources, expand_command, resolve_env};
pub use etc::{HostDns, hostname, hostname_file, hosts_file, kernel_hostname, resolv_conf};
pub use images::{ImageVolume, check_image_paths};
pub use manager::{MountedVolume, VolumeError, VolumeManager};
pub use mounts::{ContainerMount, resolve_mounts};
pub use objects::VolumeObjects;
pub use usage::{PodFiles, VolumeUsage};
