//! Addresses of registries: absolute, `http` or `https`.

use http::Uri;

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// Over TLS.
    pub https: bool,
    /// Name or address; IPv6 in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl Url {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Url, String> {
        let wrong = |why: &str| format!("{text:?} is no address of a registry: {why}");
        let uri: Uri = text.parse().map_err(|_| wrong("it does not parse"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it must begin with https:// or http://")),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if authority.contains('@') {
            return Err(wrong("it must not hold a user"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Url { https, host: host.to_string(), port, path: format!("{slash}{path}") })
    }

    /// The same place with another path.
    #[must_use]
    pub fn with_path(&self, path: String) -> Url {
        Url { path, ..self.clone() }
    }

    /// Whether both are one server: scheme, host and port.
    pub fn same_origin(&self, other: &Url) -> bool {
        (self.https, self.port) == (other.https, other.port) && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Host and, unless it is the scheme's own, port: the `Host` header.
    pub fn authority(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Where a `Location` leads from here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn join(&self, location: &str) -> Result<Url, String> {
        let location = location.split('#').next().unwrap_or_default();
        if location.contains("://") && !location.starts_with(['/', '?', '.']) {
            return Url::parse(location);
        }
        let scheme = if self.https { "https" } else { "http" };
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}:{location}"));
        }
        let here = self.path.split('?').next().unwrap_or_default();
        let path = match location.chars().next() {
            None => return Err("an empty Location".into()),
            Some('/') => location.to_string(),
            Some('?') => format!("{here}{location}"),
            Some(_) => format!("{}/{location}", here.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Url::parse(&format!("{scheme}://{}{path}", self.authority()))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        // A query may be a signature that opens the door.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

/// A text as a value in a query.
pub fn query_value(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_their_query() {
        let url = Url::parse("https://r.example/a?sig=1").unwrap();
        assert_eq!((url.https, url.host.as_str(), url.port, url.path.as_str()), (true, "r.example", 443, "/a?sig=1"));
        assert_eq!(url.to_string(), "https://r.example/a");
        let url = Url::parse("http://[::1]:5000").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("[::1]", 5000, "/"));
        assert_eq!(url.authority(), "[::1]:5000");
        for wrong in ["r.example", "ftp://r.example", "https://", "https://me:pass@r.example/", "https://a b/"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let from = Url::parse("https://r.example:5000/v2/a/blobs/x?ns=b").unwrap();
        for (location, expected) in [
            ("https://cdn.example/y?k=v#f", "https://cdn.example/y?k=v"),
            ("//cdn.example/y", "https://cdn.example/y"),
            ("/y?to=http://z", "https://r.example:5000/y?to=http://z"),
            ("y", "https://r.example:5000/v2/a/blobs/y"),
            ("?k=v", "https://r.example:5000/v2/a/blobs/x?k=v"),
        ] {
            assert_eq!(from.join(location), Url::parse(expected), "{location}");
        }
        assert!(from.join("").is_err());
        assert!(!from.same_origin(&Url::parse("https://r.example/").unwrap()));
        assert!(from.same_origin(&Url::parse("https://R.example:5000/").unwrap()));
        assert_eq!(query_value("repository:a/b:pull x"), "repository%3Aa%2Fb%3Apull%20x");
    }
}
