//! What a registry wants to see (RFC 9110, `WWW-Authenticate`; distribution's token specification).

/// How a registry asks who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token of another server.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// For whom they are.
        service: String,
        /// What for.
        scope: String,
    },
}

/// The strongest challenge of a header that we know; a token comes before a password.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for (scheme, parameters) in headers.flat_map(challenges) {
        let of = |name: &str| {
            let mut all = parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            all.next().map(|(_, value)| value.clone()).unwrap_or_default()
        };
        if scheme.eq_ignore_ascii_case("bearer") && !of("realm").is_empty() {
            return Some(Challenge::Bearer { realm: of("realm"), service: of("service"), scope: of("scope") });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// Schemes with their parameters. What does not parse ends the list.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut list: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | ',')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(word);
        let after = after.trim_start();
        match (after.strip_prefix('='), list.last_mut()) {
            _ if name.is_empty() => break,
            (Some(value), Some((_, parameters))) => {
                let Some((value, end)) = parameter(value.trim_start()) else { break };
                parameters.push((name.to_string(), value));
                rest = end;
            }
            // A parameter without a scheme.
            (Some(_), None) => break,
            (None, _) => {
                list.push((name.to_string(), Vec::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    list
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_string(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() })
        };
        for (headers, expected) in [
            (
                &[r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#]
                    [..],
                bearer("https://auth.example/token", "r.example", "repository:a/b:pull,push"),
            ),
            (&[r#"Basic realm="a, b""#], Some(Challenge::Basic)),
            (&[r#"Basic realm="x", bearer Realm=https://t service="s""#], bearer("https://t", "s", "")),
            (&["Negotiate", "basic"], Some(Challenge::Basic)),
            (&[r#"Bearer realm="a\"b\\", error="invalid_token""#], bearer("a\"b\\", "", "")),
            (&["Bearer service=x"], None),
            (&[r#"Bearer realm="open"#], None),
            (&["=x", ""], None),
        ] {
            assert_eq!(parse(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_stop(header in "\\PC{0,80}") {
            let _ = parse([header.as_str()].into_iter());
        }
    }
}
