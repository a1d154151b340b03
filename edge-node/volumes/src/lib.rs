//! Volumes of pods: mounts, the atomic writer, projected tokens.
