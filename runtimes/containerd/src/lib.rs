//! Pods as OCI containers, through containerd.
