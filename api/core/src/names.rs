//! Rules of names, with upstream's texts (`k8s.io/apimachinery/pkg/util/validation`). RFC 1123 and RFC 1035.

/// Longest DNS label.
pub const DNS_LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const DNS_SUBDOMAIN_MAX: usize = 253;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label_1123(text: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|&b| ok(b))
        && bytes.last().is_some_and(|&b| ok(b))
        && bytes.iter().all(|&b| ok(b) || b == b'-')
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What is wrong with an RFC 1123 label; empty when nothing is.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        problems.push(too_long(DNS_LABEL_MAX));
    }
    if !is_label_1123(text) {
        problems.push(LABEL_1123.to_string());
    }
    problems
}

/// What is wrong with an RFC 1123 subdomain.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        problems.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label_1123) {
        problems.push(SUBDOMAIN_1123.to_string());
    }
    problems
}

/// What is wrong with a subdomain of which the first label stands for any (RFC 1034 section 4.3.3).
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        problems.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label_1123)) {
        problems.push("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_string());
    }
    problems
}

/// What is wrong with an RFC 1035 label, as names of Services are.
pub fn dns_label_1035(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        problems.push(too_long(DNS_LABEL_MAX));
    }
    if !is_label_1123(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(LABEL_1035.to_string());
    }
    problems
}

/// What is wrong with a qualified name (label keys, annotation keys, resource names, taint keys).
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_string());
            } else {
                problems.extend(dns_subdomain(prefix).into_iter().map(|problem| format!("prefix part {problem}")));
            }
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_string());
    } else if name.len() > DNS_LABEL_MAX {
        problems.push(format!("name part {}", too_long(DNS_LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        problems.push(QUALIFIED.to_string());
    }
    problems
}

/// What is wrong with the value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_LABEL_MAX {
        problems.push(too_long(DNS_LABEL_MAX));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        problems.push(LABEL_VALUE.to_string());
    }
    problems
}

/// What is wrong with a name that is one segment of a path (RBAC objects).
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// What is wrong with the name of an environment variable.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() || !text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return vec![ENV_NAME.to_string()];
    }
    Vec::new()
}

/// What is wrong with the key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        problems.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        problems.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_string());
    }
    if text == "." || text == ".." {
        problems.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        problems.push("must not start with '..'".to_string());
    }
    problems
}

/// What is wrong with the name of a port (IANA_SVC_NAME, RFC 6335 section 5.1).
pub fn port_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 15 {
        problems.push("must be no more than 15 characters".to_string());
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_string());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_string());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_string());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_string());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rfcs() {
        assert!(dns_label("a-1").is_empty() && dns_subdomain("a.b-c.d").is_empty());
        assert!(!dns_label("A").is_empty() && !dns_label("").is_empty() && !dns_label("a.b").is_empty());
        assert!(!dns_label("-a").is_empty() && !dns_label(&"a".repeat(64)).is_empty());
        assert!(!dns_label_1035("1a").is_empty() && dns_label_1035("a1").is_empty());
        assert!(wildcard_subdomain("*.a.b").is_empty());
        assert!(["*", "*a.b", "*.*.a", "a.b"].iter().all(|text| !wildcard_subdomain(text).is_empty()));
        assert!(qualified_name("example.com/My_Name").is_empty() && label_value("").is_empty());
        assert!(!qualified_name("/x").is_empty() && !qualified_name("a/b/c").is_empty());
        assert!(port_name("http-1").is_empty() && !port_name("80").is_empty() && !port_name("a--b").is_empty());
        assert!(config_key("a.conf").is_empty() && !config_key("..a").is_empty() && !config_key("a/b").is_empty());
    }
}
