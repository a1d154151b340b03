//! Which way a request goes: straight, or through a proxy, by the variables that everybody reads (`HTTPS_PROXY`, `HTTP_PROXY`,
//! `NO_PROXY`, in capitals or not). This machine is never reached through one.
//!
//! What is for TLS goes through the proxy as a tunnel (`CONNECT`), so that the proxy sees a name and nothing else; what is not
//! is asked of the proxy itself.

use crate::url::Url;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

/// What goes no detour.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Near {
    All,
    /// A name, and whether it is the name itself too or only what lies below; a port.
    Name(String, bool, Option<u16>),
    /// Addresses with this many leading bits.
    Network(IpAddr, u32, Option<u16>),
}

/// The proxies of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    https: Option<Proxy>,
    http: Option<Proxy>,
    near: Vec<Near>,
}

impl ProxySettings {
    /// Reads the variables through `get`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<ProxySettings, String> {
        let value = |name: &str| {
            let found = get(name).filter(|text| !text.is_empty());
            found.or_else(|| get(&name.to_lowercase()).filter(|text| !text.is_empty()))
        };
        let proxy = |name: &str| match value(name) {
            Some(text) => read_proxy(&text).map(Some).map_err(|why| format!("{name} is invalid: {why}")),
            None => Ok(None),
        };
        let near = value("NO_PROXY").unwrap_or_default();
        let near = near.split(',').map(str::trim).filter(|part| !part.is_empty()).map(read_near).collect();
        Ok(ProxySettings { https: proxy("HTTPS_PROXY")?, http: proxy("HTTP_PROXY")?, near })
    }

    /// The proxy for a place, if it is reached through one.
    pub(crate) fn of(&self, https: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if https { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_matches(['[', ']']).to_lowercase();
        let ip = host.parse::<IpAddr>().ok();
        let is_near = host == "localhost"
            || ip.is_some_and(|ip| ip.is_loopback())
            || self.near.iter().any(|near| covers(near, &host, ip, port));
        (!is_near).then_some(proxy)
    }
}

fn read_proxy(text: &str) -> Result<Proxy, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if scheme != "http" {
        return Err(format!("not implemented: proxies that are spoken with by {scheme}"));
    }
    // Not with the text: it may hold a password.
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let url = Url::parse(&format!("http://{}", place.trim_end_matches('/')))?;
    let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(decoded(user))));
    Ok(Proxy { host: url.host, port: url.port, authorization })
}

/// Text with its `%xx` resolved.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn read_near(part: &str) -> Near {
    if part == "*" {
        return Near::All;
    }
    if let Some((ip, bits)) = part.split_once('/')
        && let (Ok(ip), Ok(bits)) = (ip.parse(), bits.parse())
    {
        return Near::Network(ip, bits, None);
    }
    if let Ok(ip) = part.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Near::Network(ip, 128, None);
    }
    let (name, port) = match part.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (part, None),
    };
    if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Near::Network(ip, 128, port);
    }
    let below = name.strip_prefix("*.").or(name.strip_prefix('.'));
    Near::Name(below.unwrap_or(name).to_lowercase(), below.is_none(), port)
}

fn covers(near: &Near, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    match near {
        Near::All => true,
        Near::Name(name, itself, of) => {
            let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
            of.is_none_or(|of| of == port) && (below || (*itself && host == name))
        }
        Near::Network(network, bits, of) => {
            of.is_none_or(|of| of == port)
                && match (network, ip) {
                    (IpAddr::V4(network), Some(IpAddr::V4(ip))) => {
                        let rest = 32_u32.saturating_sub(*bits);
                        (u32::from(*network) ^ u32::from(ip)).checked_shr(rest).unwrap_or(0) == 0
                    }
                    (IpAddr::V6(network), Some(IpAddr::V6(ip))) => {
                        let rest = 128_u32.saturating_sub(*bits);
                        (u128::from(*network) ^ u128::from(ip)).checked_shr(rest).unwrap_or(0) == 0
                    }
                    _ => false,
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> Result<ProxySettings, String> {
        ProxySettings::from_env(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_string()))
    }

    #[test]
    fn the_way_is_chosen_as_everybody_does() {
        let all = settings(&[
            ("HTTPS_PROXY", "http://me:p%40ss@proxy.example:3128/"),
            ("http_proxy", "plain.example"),
            ("NO_PROXY", "r.example, .below.example,10.0.0.0/8,port.example:5000,192.0.2.7,[fd00::1]:443, fd01::/16"),
        ])
        .unwrap();
        let way = |https: bool, host: &str, port: u16| all.of(https, host, port).map(|proxy| proxy.host.clone());
        let (tls, plain) = (Some("proxy.example".to_string()), Some("plain.example".to_string()));
        for (https, host, port, expected) in [
            (true, "quay.example", 443, &tls),
            (false, "quay.example", 80, &plain),
            (true, "r.example", 443, &None),
            (true, "a.R.example", 443, &None),
            (true, "other-r.example", 443, &tls),
            (true, "below.example", 443, &tls),
            (true, "a.below.example", 443, &None),
            (true, "10.1.2.3", 443, &None),
            (true, "11.1.2.3", 443, &tls),
            (true, "port.example", 443, &tls),
            (true, "port.example", 5000, &None),
            (true, "192.0.2.7", 443, &None),
            (true, "192.0.2.8", 443, &tls),
            (true, "[fd00::1]", 443, &None),
            (true, "[fd00::1]", 5000, &tls),
            (true, "[fd01:1::2]", 5000, &None),
            (true, "localhost", 5000, &None),
            (true, "127.0.0.1", 5000, &None),
        ] {
            assert_eq!(way(https, host, port), *expected, "{https} {host} {port}");
        }
        let proxy = all.of(true, "quay.example", 443).unwrap();
        assert_eq!((proxy.port, proxy.authorization.as_deref()), (3128, Some("Basic bWU6cEBzcw==")));
        assert_eq!(all.of(false, "quay.example", 80).unwrap().port, 80);
        assert!(!format!("{all:?}").contains("bWU6"));
        let none = settings(&[("HTTPS_PROXY", "p.example"), ("NO_PROXY", "*")]).unwrap();
        assert_eq!(none.of(true, "quay.example", 443), None);
        assert_eq!(settings(&[("NO_PROXY", "a")]).unwrap().of(true, "quay.example", 443), None);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let said = settings(&[("HTTPS_PROXY", "socks5://p.example")]).unwrap_err();
        assert_eq!(said, "HTTPS_PROXY is invalid: not implemented: proxies that are spoken with by socks5");
        assert!(settings(&[("HTTP_PROXY", "http://")]).unwrap_err().starts_with("HTTP_PROXY is invalid: "));
    }
}
