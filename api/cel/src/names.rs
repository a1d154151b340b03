//! Names of properties as identifiers: Kubernetes' escapes (documentation, "Common Expression Language in Kubernetes",
//! section "Escaping").

use std::borrow::Cow;

/// Words that the grammar or the checker keeps for itself.
pub const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The identifier for a property, or `None` when it has none: names of `[a-zA-Z_.-/][a-zA-Z0-9_.-/]*` have one.
pub fn escape(property: &str) -> Option<Cow<'_, str>> {
    if property.is_empty() || property.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&property) {
        return Some(Cow::Owned(format!("__{property}__")));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !property.bytes().all(|b| plain(b) || b".-/".contains(&b)) {
        return None;
    }
    if property.bytes().all(plain) && !property.contains("__") {
        return Some(Cow::Borrowed(property));
    }
    let mut out = String::with_capacity(property.len() + 16);
    let mut rest = property;
    while let Some(first) = rest.chars().next() {
        let (escaped, length) = match first {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ => (&rest[..1], 1),
        };
        out.push_str(escaped);
        rest = &rest[length..];
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_escaped_as_the_documentation_shows() {
        for (property, name) in [
            ("namespace", "__namespace__"),
            ("x-prop", "x__dash__prop"),
            ("redact__d", "redact__underscores__d"),
            ("string", "string"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("_", "_"),
            ("___", "__underscores___"),
        ] {
            assert_eq!(escape(property).as_deref(), Some(name), "{property}");
        }
        for bad in ["", "1a", "a b", "a$", "ä"] {
            assert_eq!(escape(bad), None, "{bad}");
        }
    }
}
