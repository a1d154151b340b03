//! Machines that Docker Engine shares with us: images out of its store ([`engine`]), and its firewall ([`forward`]).
//!
//! The agent may use the containerd that Docker Engine runs: what is ours there lies in a namespace of our own, which Docker
//! does not look at.

pub(crate) mod engine;
pub(crate) mod forward;

#[cfg(test)]
mod tests;
