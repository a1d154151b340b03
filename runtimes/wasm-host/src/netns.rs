//! Sockets inside a pod's network namespace.
//!
//! A thread enters the namespace, makes the socket and ends; the socket stays in that namespace, whoever uses it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Listens on `address:port` in the namespace at `netns_path`; an empty path is the host's own. Blocks.
///
/// # Errors
/// When the namespace cannot be entered or the address not be bound.
pub fn listen(netns_path: &str, address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, port);
    let bind = move || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    if netns_path.is_empty() {
        return bind();
    }
    let named = |err: io::Error| io::Error::new(err.kind(), format!("network namespace {netns_path}: {err}"));
    let namespace = File::open(netns_path).map_err(named)?;
    let thread = std::thread::Builder::new()
        .name("wasm-netns".into())
        .stack_size(64 << 10)
        .spawn(move || nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).map(|()| bind()))?;
    match thread.join() {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(err)) => Err(named(err.into())),
        Err(_) => Err(io::Error::other("the thread that makes sockets panicked")),
    }
}
