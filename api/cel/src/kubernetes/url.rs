//! URLs (documentation, section "Kubernetes URL library"). They are read as Go's `net/url` reads them (RFC 3986 with
//! its leniences), since that is what the documentation promises.

use super::{Kubernetes, URL, argument, value};
use crate::error::EvalError;
use crate::functions::{Args, Library};
use crate::types::Type;
use crate::value::{Key, Map, Outcome, Text, Value};
use std::collections::BTreeMap;

/// A URL in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// What stands for host and path in a URL such as `mailto:a@b`.
    opaque: String,
    user: String,
    /// With its port.
    host: String,
    /// Escaped.
    path: String,
    query: String,
    fragment: String,
}

type Get = fn(&Url) -> &str;

pub(super) fn declare(library: &mut Library) {
    let url = Type::object(URL);
    let one = [url.clone()];
    library.global("url", "string_to_url", &[Type::String], url, |args| {
        let text = args.text(0)?;
        let wrong = |why| EvalError::new(format!("URL parse error during conversion from string: {why}"));
        check_request_uri(text).map_err(wrong)?;
        Ok(value(Kubernetes::Url(Url::parse(text, false).map_err(|why| wrong(told(text, &why)))?)))
    });
    library.global("isURL", "is_url_string", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(check_request_uri(args.text(0)?).is_ok()))
    });
    library.member("getScheme", "url_get_scheme", &one, Type::String, |args| part(args, |url| &url.scheme));
    library.member("getHost", "url_get_host", &one, Type::String, |args| part(args, |url| &url.host));
    library.member("getHostname", "url_get_hostname", &one, Type::String, |args| part(args, |url| url.split_host().0));
    library.member("getPort", "url_get_port", &one, Type::String, |args| part(args, |url| url.split_host().1));
    library.member("getEscapedPath", "url_get_escaped_path", &one, Type::String, |args| part(args, |url| &url.path));
    let query = Type::map(Type::String, Type::list(Type::String));
    library.member("getQuery", "url_get_query", &one, query, |args| {
        Ok(Value::Map(Map::Made(argument!(args, 0, Url)?.query_values().into())))
    });
}

fn part<'a>(args: Args<'_, 'a>, get: Get) -> Outcome<'a> {
    Ok(Value::owned(get(argument!(args, 0, Url)?)))
}

fn told(text: &str, why: &str) -> String {
    format!("parse {text:?}: {why}")
}

/// Whether the text is an absolute URI or an absolute path.
pub(super) fn check_request_uri(text: &str) -> Result<(), String> {
    Url::parse(text, true).map(|_| ()).map_err(|why| told(text, &why))
}

impl Url {
    fn parse(text: &str, request: bool) -> Result<Url, String> {
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err("net/url: invalid control character in URL".to_string());
        }
        if text.is_empty() && request {
            return Err("empty url".to_string());
        }
        let mut url = Url::default();
        let (text, fragment) = if request { (text, "") } else { text.split_once('#').unwrap_or((text, "")) };
        url.fragment = unescape(fragment, false)?;
        if text == "*" {
            url.path = "*".to_string();
            return Ok(url);
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.query = query.to_string();
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                url.opaque = rest.to_string();
                return Ok(url);
            }
            if request {
                return Err("invalid URI for request".to_string());
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_string());
            }
        }
        let has_authority = !scheme.is_empty() || (!request && !rest.starts_with("///"));
        if let (true, Some(after)) = (has_authority, rest.strip_prefix("//")) {
            let end = after.find('/').unwrap_or(after.len());
            url.set_authority(&after[..end])?;
            rest = &after[end..];
        }
        let path = unescape(rest, false)?;
        url.path = if is_escaped_path(rest) { rest.to_string() } else { escape_path(&path) };
        Ok(url)
    }

    fn set_authority(&mut self, authority: &str) -> Result<(), String> {
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
        if !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b)) {
            return Err("net/url: invalid userinfo".to_string());
        }
        self.user = unescape(user, false)?;
        let port = match host.strip_prefix('[') {
            Some(inner) => {
                let (_, port) = inner.split_once(']').ok_or("missing ']' in host")?;
                port
            }
            None => host.rfind(':').map_or("", |at| &host[at..]),
        };
        let digits = port.strip_prefix(':').unwrap_or(port);
        if !port.is_empty() && (!port.starts_with(':') || !digits.bytes().all(|b| b.is_ascii_digit())) {
            return Err(format!("invalid port {port:?} after host"));
        }
        self.host = unescape(host, true)?;
        Ok(())
    }

    /// Host without brackets, and port.
    fn split_host(&self) -> (&str, &str) {
        let (host, port) = match self.host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match self.host.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
                _ => (self.host.as_str(), None),
            },
        };
        (host, port.unwrap_or_default())
    }

    /// Keys with their values, in order. What cannot be read is left out, as Go does.
    fn query_values<'a>(&self) -> BTreeMap<Key<'a>, Value<'a>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| unescape(&text.replace('+', " "), false);
            if let (Ok(name), Ok(text)) = (plain(name), plain(text)) {
                found.entry(name).or_default().push(text);
            }
        }
        let entry =
            |(name, texts): (String, Vec<String>)| (Key::String(Text::Shared(name.into())), Value::strings(texts));
        found.into_iter().map(entry).collect()
    }
}

/// Scheme and rest.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_string()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

/// Percent escapes resolved. In a host only bytes beyond ASCII may be escaped, and few characters may stand.
fn unescape(text: &str, host: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if b != b'%' {
            if host && b < 0x80 && !b.is_ascii_alphanumeric() && !b"-_.~!$&'()*+,;=:[]<>\"".contains(&b) {
                return Err(format!("invalid character {:?} in host name", char::from(b).to_string()));
            }
            out.push(b);
            at += 1;
            continue;
        }
        let escape = bytes.get(at..at + 3).and_then(|e| std::str::from_utf8(e).ok());
        let decoded = escape
            .filter(|e| e.as_bytes()[1..].iter().all(u8::is_ascii_hexdigit))
            .and_then(|e| u8::from_str_radix(&e[1..], 16).ok())
            .filter(|b| !host || *b >= 0x80);
        match decoded {
            Some(b) => out.push(b),
            None => {
                let shown = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned();
                return Err(format!("invalid URL escape {shown:?}"));
            }
        }
        at += 3;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Whether a path can stand as it was written.
fn is_escaped_path(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]%/".contains(&b))
}

fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~$&+:=@/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}
