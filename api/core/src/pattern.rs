//! Regular expressions as Go writes them (RE2), on the `regex` crate.
//!
//! The two languages agree but for three things: `\d`, `\w` and `\s` mean ASCII in Go; a `[` inside a class is a plain character
//! there; `&&`, `--` and `~~` inside a class are too; and `\\Q…\\E` quotes. A pattern is rewritten so that it means here what it means there.
//! (<https://pkg.go.dev/regexp/syntax>)

use regex::Regex;

/// Largest compiled pattern, in bytes: who writes patterns must not choose our memory.
const COMPILED_BYTES: usize = 1 << 20;

/// A compiled pattern. It matches anywhere in a text, as Go's `MatchString`.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Box<str>,
    compiled: Regex,
}

impl Pattern {
    /// Compiles `source`.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn new(source: &str) -> Result<Pattern, String> {
        Pattern::within(source, COMPILED_BYTES)
    }

    /// Compiles `source` into at most so many bytes.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn within(source: &str, bytes: usize) -> Result<Pattern, String> {
        let compiled = regex::RegexBuilder::new(&translate(source)).size_limit(bytes).build();
        let compiled = compiled.map_err(|err| match err {
            regex::Error::CompiledTooBig(_) => "expression too large".to_string(),
            err => err.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string(),
        })?;
        Ok(Pattern { source: source.into(), compiled })
    }

    /// Whether it matches somewhere in `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The compiled form, for finding and capturing.
    pub fn regex(&self) -> &Regex {
        &self.compiled
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars();
    // Within a class, how many characters of it came before: a `]` that comes first is a plain one.
    let mut class: Option<usize> = None;
    while let Some(c) = chars.next() {
        match (c, &mut class) {
            ('\\', _) => {
                match chars.next() {
                    Some('d') => out.push_str("[0-9]"),
                    Some('D') => out.push_str("[^0-9]"),
                    Some('w') => out.push_str("[0-9A-Za-z_]"),
                    Some('W') => out.push_str("[^0-9A-Za-z_]"),
                    Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                    Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                    Some('b') if class.is_none() => out.push_str("(?-u:\\b)"),
                    Some('B') if class.is_none() => out.push_str("(?-u:\\B)"),
                    Some('Q') if class.is_none() => {
                        let rest = chars.as_str();
                        let end = rest.find("\\E").unwrap_or(rest.len());
                        out.push_str(&regex::escape(&rest[..end]));
                        chars = rest.get(end + 2..).unwrap_or_default().chars();
                    }
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
                if let Some(seen) = &mut class {
                    *seen += 1;
                }
            }
            ('[', None) => {
                out.push('[');
                if let Some(rest) = chars.as_str().strip_prefix('^') {
                    chars = rest.chars();
                    out.push('^');
                }
                class = Some(0);
            }
            (']', Some(0)) => {
                out.push_str("\\]");
                class = Some(1);
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[', Some(seen)) => {
                *seen += 1;
                // `[:alpha:]` is a class in both.
                let named = chars.as_str().starts_with(':');
                out.push_str(if named { "[" } else { "\\[" });
                if named {
                    for inner in chars.by_ref() {
                        out.push(inner);
                        if inner == ']' {
                            break;
                        }
                    }
                }
            }
            ('&' | '~', Some(seen)) => {
                *seen += 1;
                out.extend(['\\', c]);
            }
            // Of two dashes one may make a range with the other: `[+--]` is what lies from `+` to `-`.
            ('-', Some(seen)) if chars.as_str().starts_with('-') => {
                chars.next();
                *seen += 2;
                out.push_str("-\\-");
            }
            (c, Some(seen)) => {
                *seen += 1;
                out.push(c);
            }
            (c, None) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_it_means_in_go() {
        for (pattern, text, matches) in [
            ("^[a-z]+$", "abc", true),
            ("b", "abc", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^\w$", "é", false),
            (r"^[\w.-]+$", "a.b-c_9", true),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[^]]+$", "ab", true),
            ("^[a&&b]+$", "&", true),
            ("^[[:alpha:]]+$", "ab", true),
            ("^.$", "é", true),
            (r"^[+--]$", ",", true),
            (r"^\Qa.b\E+$", "a.bb", true),
            (r"^\Qa.b\E+$", "axb", false),
        ] {
            let compiled = Pattern::new(pattern).unwrap_or_else(|err| panic!("{pattern}: {err}"));
            assert_eq!(compiled.matches(text), matches, "{pattern} on {text:?}");
        }
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("(?=a)").is_err(), "look-around is in neither");
        assert_eq!(Pattern::new(&"(a{1000}){1000}".repeat(4)).unwrap_err(), "expression too large");
    }
}
