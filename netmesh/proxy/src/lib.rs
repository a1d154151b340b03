//! Services on nftables.
