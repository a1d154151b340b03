//! Small rules that many kinds share.

use holdfast_core::json::{default, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::net::IpAddr;
use std::str::FromStr;

/// Sets a string where it is missing or empty, as Go's defaulting of enums does.
pub(crate) fn default_text(doc: &mut Json, path: &[&str], value: &str) {
    if str_at(doc, path) == Some("") {
        holdfast_core::json::remove(doc, path);
    }
    default(doc, path, value);
}

/// The text at a field, empty when it is missing.
pub(crate) fn text<'a>(doc: &'a Json, field: &str) -> &'a str {
    doc.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// Tells of a text that is none of `allowed`. `required` says whether empty is wrong too.
pub(crate) fn one_of(
    doc: &Json,
    field: &str,
    allowed: &[&str],
    required: bool,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let value = text(doc, field);
    if value.is_empty() {
        if required {
            errors.required(&path.child(field), "");
        }
    } else if !allowed.contains(&value) {
        errors.not_supported(&path.child(field), value, allowed);
    }
}

/// Whether Go would not tell a value from one that is missing.
pub(crate) fn is_unset(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Tells of a negative number.
pub(crate) fn not_negative(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = doc.get(field).and_then(Json::as_i64).filter(|number| *number < 0) {
        errors.invalid(&path.child(field), number, "must be greater than or equal to 0");
    }
}

/// Tells of a number that is not positive.
pub(crate) fn positive(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = doc.get(field).and_then(Json::as_i64).filter(|number| *number <= 0) {
        errors.invalid(&path.child(field), number, "must be greater than 0");
    }
}

/// Tells of a port number out of range.
pub(crate) fn port_number(number: i64, path: &FieldPath, errors: &mut FieldErrors) {
    if !(1..=65_535).contains(&number) {
        errors.invalid(path, number, "must be between 1 and 65535, inclusive");
    }
}

/// A port that is a number or a name (`IntOrString`).
pub(crate) fn port_number_or_name(value: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    match value {
        Some(Json::String(name)) => errors.all_invalid(path, name, names::port_name(name)),
        other => port_number(other.and_then(Json::as_i64).unwrap_or(0), path, errors),
    }
}

/// Tells of an address that is none.
pub(crate) fn ip_address(address: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if IpAddr::from_str(address).is_err() {
        errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// Tells of an address that no endpoint may have.
pub(crate) fn endpoint_range(address: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let Ok(ip) = address.parse::<IpAddr>() else { return };
    if ip.is_unspecified() {
        errors.invalid(path, address, format!("may not be unspecified ({address})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Tells of a network that is none, or has bits beyond its prefix.
pub(crate) fn cidr(network: &str, path: &FieldPath, errors: &mut FieldErrors) {
    match network.parse::<ipnet::IpNet>() {
        Err(_) => errors.invalid(path, network, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        Ok(net) if net.addr() != net.network() => {
            errors.invalid(path, network, "must not have bits set beyond the prefix length");
        }
        Ok(_) => {}
    }
}

/// Tells of a network that is none, or is written in another form than the one that everybody writes.
pub(crate) fn canonical_cidr(network: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let before = errors.0.len();
    cidr(network, path, errors);
    let canonical = network.parse::<ipnet::IpNet>().map(|net| net.trunc().to_string()).unwrap_or_default();
    if errors.0.len() == before && canonical != network {
        errors.invalid(path, network, format!("must be in canonical form ({canonical:?})"));
    }
}

/// Problems of a path below a domain, such as `example.com/ingress`.
pub(crate) fn domain_path(value: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    let Some((host, rest)) = value.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        return errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    errors.all_invalid(path, host, names::dns_subdomain(host));
    if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.invalid(path, rest, r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')");
    }
}

/// Problems of the name of a CSI driver.
pub(crate) fn driver_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    const MAX: usize = 63;
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > MAX {
        errors.too_long(path, MAX);
    }
    errors.all_invalid(path, name, names::dns_subdomain(&name.to_lowercase()));
}

/// Problems of the access modes of a volume or claim.
pub(crate) fn access_modes(spec: &Json, missing: &str, path: &FieldPath, errors: &mut FieldErrors) {
    const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let path = path.child("accessModes");
    let modes: Vec<&str> = items_at(spec, &["accessModes"]).iter().filter_map(Json::as_str).collect();
    if modes.is_empty() {
        errors.required(&path, missing);
    }
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        errors.not_supported(&path, *mode, MODES);
    }
    let alone = modes.contains(&"ReadWriteOncePod");
    if alone && modes.iter().any(|mode| *mode != "ReadWriteOncePod" && MODES.contains(mode)) {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}
