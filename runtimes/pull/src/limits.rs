//! Bounds of pulls, each with its reason.

use std::time::Duration;

/// Failures of one host in a row, without progress, before the next host is asked.
pub const TRIES: u32 = 5;
/// Bytes of a blob that make a try count as progress.
pub const PROGRESS_BYTES: u64 = 64 << 10;
/// First and longest wait between such tries.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// Longest wait that a registry may ask for by `Retry-After`.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Redirects that are followed in a row.
pub const REDIRECTS: u32 = 10;
/// Time to connect to one address.
pub const CONNECT: Duration = Duration::from_secs(10);
/// Time from a request to the head of its answer, the connection included.
pub const HEAD: Duration = Duration::from_secs(30);
/// Longest silence within a body.
pub const STALL: Duration = Duration::from_secs(60);
/// Time to read the rest of an answer that is not needed, to use its connection again.
pub const FINISH: Duration = Duration::from_secs(1);
/// Largest manifest or index: the specification asks registries to take 4 MiB.
pub const MANIFEST_BYTES: usize = 4 << 20;
/// Largest image configuration.
pub const CONFIG_BYTES: u64 = 8 << 20;
/// Largest answer of a token server.
pub const TOKEN_BYTES: usize = 64 << 10;
/// Bytes of an error's body that are looked at.
pub const ERROR_BYTES: usize = 8 << 10;
/// Characters of a registry's own words in an error.
pub const ERROR_TEXT: usize = 300;
/// Read buffer of a connection, and so the largest head and the largest piece of a body.
pub const READ_BUFFER: usize = 64 << 10;
/// Connections of a pull that wait for the next request.
pub const IDLE_CONNECTIONS: usize = 4;
/// Manifests in an index, and layers in a manifest.
pub const ENTRIES: usize = 1024;
/// Indexes within indexes.
pub const DEPTH: usize = 2;
/// Tokens that are kept, and challenges; the oldest go first.
pub const TOKENS: usize = 64;
/// Hosts in one `hosts.toml`.
pub const HOSTS: usize = 16;
/// Bytes of a `hosts.toml`, or of a file of certificates that it names.
pub const FILE_BYTES: u64 = 4 << 20;
/// Credential provider plugins.
pub const PROVIDERS: usize = 32;
/// Answers of plugins that are kept.
pub const PROVIDED: usize = 128;
/// How long a plugin may take, as with the kubelet.
pub const PROVIDER: Duration = Duration::from_secs(60);
/// Largest answer of a plugin.
pub const PROVIDER_BYTES: u64 = 256 << 10;
/// Life of a token that does not say how long it lives (distribution's token specification).
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);

const _: () = assert!(ERROR_BYTES <= READ_BUFFER);
const _: () = assert!(CONFIG_BYTES == holdfast_runtime::archive::MAX_METADATA);
