//! Links in pages that come through the proxy: those that lead to the root of what is proxied lead back through the proxy.
//!
//! [`Links`] is fed a page piece by piece and holds back a tag at most. It is no parser of HTML: it finds tags as the standard's
//! tokenizer does for pages that are well formed, and changes the attributes that are links, and nothing else.
//! (<https://html.spec.whatwg.org/multipage/parsing.html#tokenization>; the attributes are upstream's.)

use crate::codec::body::Change;
use crate::limits::TAG_BYTES;

/// Attributes that are links, by tag.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Tags whose content is text until they are closed.
const RAW: &[&str] = &["script", "style", "textarea", "title", "xmp"];

/// What stands between two tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Text,
    /// Until the tag of this index in [`RAW`] is closed.
    Raw(usize),
}

/// Changes the links of one page.
pub(crate) struct Links {
    /// The proxy's path, without a slash at its end.
    prefix: String,
    /// How the client names this server.
    host: String,
    between: Between,
    /// A tag or comment that has begun.
    held: Vec<u8>,
}

impl Links {
    pub(crate) fn new(prefix: &str, host: &str) -> Links {
        Links {
            prefix: prefix.trim_end_matches('/').to_string(),
            host: host.to_string(),
            between: Between::Text,
            held: Vec::new(),
        }
    }

    /// Writes what [`end_of`] found: a tag, a comment, or a sign that begins neither.
    fn put(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let Some(text) = std::str::from_utf8(tag).ok().filter(|text| text.len() > 1) else {
            return out.extend_from_slice(tag);
        };
        let closes = text.starts_with("</");
        let name = name_of(text);
        match self.between {
            Between::Raw(_) if closes => self.between = Between::Text,
            Between::Raw(_) => return out.extend_from_slice(tag),
            Between::Text if closes => {}
            Between::Text => {
                if let Some(raw) = RAW.iter().position(|raw| *raw == name) {
                    self.between = Between::Raw(raw);
                }
            }
        }
        let links = LINKS.iter().find(|(tag, _)| *tag == name).map(|(_, links)| *links).unwrap_or_default();
        if closes || links.is_empty() {
            return out.extend_from_slice(tag);
        }
        let mut written = 0;
        for (attribute, start, end) in attributes(text) {
            if !links.contains(&attribute.to_ascii_lowercase().as_str()) {
                continue;
            }
            if let Some(url) = self.through_proxy(&text[start..end]) {
                out.extend_from_slice(&text.as_bytes()[written..start]);
                out.extend_from_slice(url.as_bytes());
                written = end;
            }
        }
        out.extend_from_slice(&text.as_bytes()[written..]);
    }

    /// The link that leads back through the proxy; `None` for one that needs no help or leads elsewhere.
    fn through_proxy(&self, url: &str) -> Option<String> {
        let after_scheme = ["https://", "http://", "//"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let path = match after_scheme {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                if rest[..end] != self.host {
                    return None;
                }
                &rest[end..]
            }
            None => url,
        };
        let rooted = path.starts_with('/') || (after_scheme.is_some() && path.is_empty());
        let already =
            path.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        (rooted && !already).then(|| format!("https://{}{}{path}", self.host, self.prefix))
    }
}

impl Change for Links {
    fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.held.len());
        let mut rest = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < rest.len() {
            let Some(start) = rest[at..].iter().position(|byte| *byte == b'<').map(|start| at + start) else {
                out.extend_from_slice(&rest[at..]);
                at = rest.len();
                break;
            };
            out.extend_from_slice(&rest[at..start]);
            at = start;
            match end_of(&rest[at..], self.between) {
                Some(length) => {
                    self.put(&rest[at..at + length], &mut out);
                    at += length;
                }
                None if rest.len() - at > TAG_BYTES => {
                    // No page has such tags: what it is stays as it is.
                    out.extend_from_slice(&rest[at..]);
                    at = rest.len();
                }
                None => break,
            }
        }
        self.held = rest.split_off(at);
        out
    }

    fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// How long what begins with `<` is; `None` when its end has not come yet.
fn end_of(text: &[u8], between: Between) -> Option<usize> {
    if let Between::Raw(raw) = between {
        let name = RAW[raw].as_bytes();
        if text.len() < name.len() + 2 {
            // It may still become the tag that closes.
            return (!b"</".starts_with(&text[..text.len().min(2)])).then_some(1);
        }
        if !(text[1] == b'/' && text[2..2 + name.len()].eq_ignore_ascii_case(name)) {
            return Some(1);
        }
        return text.iter().position(|byte| *byte == b'>').map(|end| end + 1);
    }
    match text.get(1)? {
        b'!' | b'?' => {
            if text.len() < 4 && b"<!--".starts_with(text) {
                return None;
            }
            if text.starts_with(b"<!--") {
                return text.windows(3).skip(2).position(|end| end == b"-->").map(|end| end + 5);
            }
            text.iter().position(|byte| *byte == b'>').map(|end| end + 1)
        }
        byte if byte.is_ascii_alphabetic() || *byte == b'/' => {
            let mut quote = None;
            for (at, byte) in text.iter().enumerate() {
                match (quote, *byte) {
                    (None, b'>') => return Some(at + 1),
                    (None, b'"' | b'\'') if text[..at].trim_ascii_end().ends_with(b"=") => quote = Some(*byte),
                    (Some(open), byte) if open == byte => quote = None,
                    _ => {}
                }
            }
            None
        }
        _ => Some(1),
    }
}

/// The name of a tag, in lower case.
fn name_of(tag: &str) -> String {
    let name = tag.trim_start_matches(['<', '/']);
    let end = name.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(name.len());
    name[..end].to_ascii_lowercase()
}

/// The attributes of a tag that have values: the name, and where the value stands.
fn attributes(tag: &str) -> Vec<(&str, usize, usize)> {
    let bytes = tag.as_bytes();
    let skip = |mut at: usize, wanted: &dyn Fn(u8) -> bool| {
        while bytes.get(at).is_some_and(|byte| wanted(*byte)) {
            at += 1;
        }
        at
    };
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == b'/';
    let mut found = Vec::new();
    let mut at = skip(1, &|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'>'));
    loop {
        at = skip(at, &is_space);
        let name = at;
        at = skip(at, &|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'>' | b'='));
        let end_of_name = at;
        if name == end_of_name && bytes.get(at).is_none_or(|byte| *byte == b'>') {
            return found;
        }
        at = skip(at, &|byte| byte.is_ascii_whitespace());
        if bytes.get(at) != Some(&b'=') {
            continue;
        }
        at = skip(at + 1, &|byte| byte.is_ascii_whitespace());
        let (start, end) = match bytes.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = skip(at + 1, &|byte| byte != *quote);
                (at + 1, end)
            }
            _ => (at, skip(at, &|byte| !byte.is_ascii_whitespace() && byte != b'>')),
        };
        found.push((&tag[name..end_of_name], start, end));
        at = if start > at { end + 1 } else { end };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "/api/v1/namespaces/a/pods/x/proxy/";

    fn told(page: &str) -> String {
        let mut links = Links::new(PREFIX, "hub:6443");
        let mut out = links.push(page.as_bytes());
        out.extend(links.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn links_to_the_root_lead_back_through_the_proxy() {
        let at = "https://hub:6443/api/v1/namespaces/a/pods/x/proxy";
        for (page, expected) in [
            ("<a href=\"/x?y=1#z\">", format!("<a href=\"{at}/x?y=1#z\">")),
            ("<A class=b HREF='/x'>", format!("<A class=b HREF='{at}/x'>")),
            ("<img src=/x.png alt=a>", format!("<img src={at}/x.png alt=a>")),
            ("<img src = \"/a>b\" >", format!("<img src = \"{at}/a>b\" >")),
            ("<link href=\"http://hub:6443/s.css\"/>", format!("<link href=\"{at}/s.css\"/>")),
            ("<script src=\"//hub:6443/s.js\"></script>", format!("<script src=\"{at}/s.js\"></script>")),
            (
                "<form method=post action=\"/in\"><input src='/b'>",
                format!("<form method=post action=\"{at}/in\"><input src='{at}/b'>"),
            ),
            ("<body background=/b><p>1 < 2</p>", format!("<body background={at}/b><p>1 < 2</p>")),
        ] {
            assert_eq!(told(page), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        for page in [
            "<a href=\"x\"><a href=\"http://other/x\"><a href=\"mailto:/x\"><a href=\"#y\"><a data-href=\"/x\"><p href=\"/x\">",
            "<!-- <a href=\"/x\"> --><!doctype html><a><a href><a / href ><",
            "<script>if (a </b/.test(\"<a href='/x'>\")) {}</script>",
            "<style>a > b { background: url(/x) }</style><title><a href=\"/x\"></title>",
            "<a href=\"/api/v1/namespaces/a/pods/x/proxy/y\"><a href='/api/v1/namespaces/a/pods/x/proxy'>",
            "<a href=\"/x",
            "<",
            "</",
            "<!-",
            "<a href=",
        ] {
            assert_eq!(told(page), page);
        }
        let long = format!("<a title=\"{}", "x".repeat(TAG_BYTES * 2));
        assert_eq!(told(&long), long);
    }

    proptest! {
        /// However a page is cut, it comes out the same.
        #[test]
        fn pieces_make_the_same_page(
            page in "(<a href=\"/x\">|<script>|</script>|<!--|-->|[<>\"'=/a-c !-]|<img src=/b >){0,24}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(page.len() + 1)).collect();
            cuts.extend([0, page.len()]);
            cuts.sort_unstable();
            let mut links = Links::new(PREFIX, "hub:6443");
            let mut out = Vec::new();
            for cut in cuts.windows(2) {
                out.extend(links.push(&page.as_bytes()[cut[0]..cut[1]]));
            }
            out.extend(links.end());
            prop_assert_eq!(String::from_utf8(out).unwrap(), told(&page));
        }
    }
}
