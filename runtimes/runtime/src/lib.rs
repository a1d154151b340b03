//! The Runtime trait: sandboxes, containers, images, streams.
