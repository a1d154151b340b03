//! Where a hub is: `HOST:PORT[/TCPPORT]`.

use std::str::FromStr;

/// The hub's default HTTPS port, where the link goes over TCP unless another port is named.
pub const DEFAULT_TCP_PORT: u16 = 6443;

/// A hub's address: one port for the link over QUIC (UDP), one for the link over TCP, which is that of the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubAddress {
    host: String,
    quic_port: u16,
    tcp_port: u16,
}

/// Why a text is no [`HubAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must have the form HOST:PORT or HOST:PORT/TCPPORT")]
pub struct BadAddress(String);

impl HubAddress {
    /// `host:port` for QUIC.
    pub fn quic(&self) -> String {
        format!("{}:{}", self.host, self.quic_port)
    }

    /// `host:port` for TCP.
    pub fn tcp(&self) -> String {
        format!("{}:{}", self.host, self.tcp_port)
    }
}

impl FromStr for HubAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<HubAddress, BadAddress> {
        let bad = || BadAddress(text.to_string());
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad);
        let (link, tcp_port) = match text.split_once('/') {
            Some((link, tcp)) => (link, port(tcp)?),
            None => (text, DEFAULT_TCP_PORT),
        };
        let (host, quic) = link.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(bad)?;
        Ok(HubAddress { host: host.to_string(), quic_port: port(quic)?, tcp_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_one_or_two_ports() {
        let read = |text: &str| text.parse::<HubAddress>().map(|hub| (hub.quic(), hub.tcp()));
        let ok = |quic: &str, tcp: &str| Ok((quic.to_string(), tcp.to_string()));
        assert_eq!(read("hub:6444"), ok("hub:6444", "hub:6443"));
        assert_eq!(read("hub:6444/443"), ok("hub:6444", "hub:443"));
        assert_eq!(read("[fd00::1]:6444/443"), ok("[fd00::1]:6444", "[fd00::1]:443"));
        for bad in ["hub", "hub:", ":1", "hub:0", "hub:70000", "hub:1/", "hub:1/x", "hub:1/2/3", ""] {
            assert!(read(bad).unwrap_err().to_string().contains("HOST:PORT/TCPPORT"), "{bad}");
        }
    }
}
