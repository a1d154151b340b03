//! Logs: to stderr, times in RFC 3339 (UTC).

use tracing_subscriber::EnvFilter;

/// Begins to log. `HOLDFAST_LOG` says what, as `tracing` filters do; `info` when unset.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
