//! Images as registries offer them: what a runtime takes in when it pulls, and where the bytes come from.
//!
//! A runtime knows what it has and what of an interrupted pull is still there; who implements [`RemoteImage`] knows
//! registries, credentials and what to do when they fail. Neither knows the other.

use crate::credentials::{Keyring, PullAuth};
use crate::{Descriptor, RuntimeError};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The registries that a machine can reach.
#[async_trait]
pub trait Registries: Send + Sync + 'static {
    /// Asks what stands under a name now. Nothing but metadata is fetched.
    ///
    /// # Errors
    /// [`RuntimeError::RegistryUnreachable`] when nobody answered, so that nothing is known; otherwise
    /// [`RuntimeError::ImagePull`] with the reason.
    async fn find(&self, wanted: &WantedImage) -> Result<Answer, RuntimeError>;
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct WantedImage {
    /// Normalised name.
    pub name: String,
    /// What may be shown to registries.
    pub keyring: Keyring,
    /// Of an image for Linux and for WebAssembly, take the latter.
    pub wasm_first: bool,
    /// Digest of what is here under that name.
    pub here: Option<String>,
}

/// What a registry says.
pub struct Answer {
    /// The image.
    pub found: Found,
    /// The credentials that let us in; `None` when none had to be shown.
    pub shown: Option<PullAuth>,
}

/// What was found.
pub enum Found {
    /// What is here is what the registry has.
    Same,
    /// An image to fetch.
    Image(Arc<dyn RemoteImage>),
}

/// Content with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub descriptor: Descriptor,
    /// The content; it matches the digest.
    pub bytes: Bytes,
}

/// An image as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteManifest {
    /// Normalised name under which it was found.
    pub name: String,
    /// What the name leads to: the manifest, or an index that holds it.
    pub target: Document,
    /// The manifest for this machine.
    pub manifest: Document,
    /// The configuration.
    pub config: Document,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// For a Wasm runtime instead of Linux.
    pub is_wasm: bool,
}

impl RemoteManifest {
    /// Bytes of configuration and layers, as they travel.
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).fold(self.config.descriptor.size, u64::saturating_add)
    }
}

/// An image that a registry offers.
#[async_trait]
pub trait RemoteImage: Send + Sync {
    /// Its description.
    fn manifest(&self) -> &RemoteManifest;

    /// How far its layers have come.
    fn progress(&self) -> &Progress;

    /// The bytes of a layer from `offset` on. A runtime that takes pieces of several openings together checks the whole by
    /// its digest, and if it does not match opens the layer again from the start.
    ///
    /// # Errors
    /// As [`Registries::find`].
    async fn open(&self, layer: &Descriptor, offset: u64) -> Result<Box<dyn BlobStream>, RuntimeError>;
}

/// Content that comes in pieces.
#[async_trait]
pub trait BlobStream: Send {
    /// The next bytes; `None` once all have come and, if they were read from the start, match the digest. Interruptions
    /// are mended inside, as far as they can be.
    ///
    /// # Errors
    /// As [`Registries::find`], and [`RuntimeError::BadImage`] when what came is not what it should be: who opens the layer
    /// again may get it from another host. Nothing more comes then.
    async fn next(&mut self) -> Result<Option<Bytes>, RuntimeError>;
}

/// How far a pull has come, in bytes of layers. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    here: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Nothing yet of so many bytes.
    pub fn of(total: u64) -> Progress {
        Progress(Arc::new(Counts { here: AtomicU64::new(0), total: AtomicU64::new(total) }))
    }

    /// So many more bytes are here.
    pub fn add(&self, bytes: u64) {
        self.0.here.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes turned out to be none.
    pub fn take_back(&self, bytes: u64) {
        self.0.here.fetch_sub(bytes.min(self.0.here.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Bytes that are here, and bytes in all.
    pub fn read(&self) -> (u64, u64) {
        (self.0.here.load(Ordering::Relaxed), self.0.total.load(Ordering::Relaxed))
    }
}
