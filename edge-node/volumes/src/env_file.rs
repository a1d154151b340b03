//! `fileKeyRef`: a variable from a file of a volume, such as an init container wrote it (KEP-3721).

use crate::MountedVolume;
use k8s_openapi::api::core::v1::FileKeySelector;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

/// Bytes of a file that are read: more than any environment holds.
const MAX_BYTES: u64 = 1 << 20;

/// The value; `None` when it is optional and not there. Blocks.
pub(crate) fn value(
    wanted: &FileKeySelector,
    volumes: &BTreeMap<String, MountedVolume>,
) -> Result<Option<String>, String> {
    let (path, key, optional) = (&wanted.path, &wanted.key, wanted.optional == Some(true));
    let name = &wanted.volume_name;
    let volume =
        volumes.get(name).ok_or_else(|| format!("cannot find the volume {name:?} referenced by FileKeyRef"))?;
    if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("the path {path:?} of FileKeyRef must be relative and must not contain '..'"));
    }
    let text = match read(&volume.host_path, path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound && optional => return Ok(None),
        Err(err) => {
            return Err(format!("couldn't parse env file: failed to open environment variable file {path:?}: {err}"));
        }
    };
    match find(&text, key).map_err(|why| format!("couldn't parse env file: {why}"))?.filter(|value| !value.is_empty()) {
        None if !optional => Err(format!("environment variable key {key:?} not found in file {path:?}")),
        value => Ok(value),
    }
}

/// A regular file below the volume; containers choose what lies there.
fn read(base: &Path, path: &str) -> io::Result<String> {
    let base = base.canonicalize()?;
    let at = base.join(path).canonicalize()?;
    if !at.starts_with(&base) || !at.metadata()?.is_file() {
        return Err(io::Error::other("it is no file of the volume"));
    }
    let mut text = String::new();
    File::open(at)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The value of `key` in a file of lines `KEY='value'`: values stand in single quotes, as they are, over several lines if
/// need be; blank lines and comments do not count. After a blank behind `=` the value is empty, as in a shell.
fn find(text: &str, key: &str) -> Result<Option<String>, String> {
    let blank = [' ', '\t'];
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let wrong = |why: &str| Err(format!("invalid environment variable format at line {number}: {why}"));
        let line = line.trim_start_matches(blank);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { return wrong("missing '='") };
        if name.trim_end_matches(blank).is_empty() {
            return wrong("empty variable name");
        }
        if name.ends_with(blank) {
            return wrong("whitespace before '=' is not allowed");
        }
        if value.starts_with(blank) {
            if name == key {
                return Ok(Some(String::new()));
            }
            continue;
        }
        let Some(mut rest) = value.strip_prefix('\'') else {
            return wrong("value must be enclosed in single quotes");
        };
        let mut found = String::new();
        let after = loop {
            if let Some((inside, after)) = rest.split_once('\'') {
                found.push_str(inside);
                break after.trim_start_matches(blank);
            }
            found.push_str(rest);
            found.push('\n');
            let Some((next, _)) = lines.next() else {
                return Err(format!(
                    "invalid environment variable format starting at line {number}: unclosed single quote"
                ));
            };
            rest = next;
        };
        if !after.is_empty() && !after.starts_with('#') {
            return wrong("unexpected content after closing quote");
        }
        if name == key {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_upstream_reads_them() {
        for (text, found) in [
            ("K='v'", Ok(Some("v"))),
            ("# c\n\n \tA='1'\n  K='$x \\n' # said", Ok(Some("$x \\n"))),
            ("K='one\ntwo'\nA='1'", Ok(Some("one\ntwo"))),
            ("K= 'v'", Ok(Some(""))),
            ("A= 'v'\nK='w'", Ok(Some("w"))),
            ("A='1'", Ok(None)),
            ("", Ok(None)),
            ("K = 'v'", Err("at line 1: whitespace before '=' is not allowed")),
            ("A='1'\nK", Err("at line 2: missing '='")),
            ("='v'", Err("at line 1: empty variable name")),
            ("K=v", Err("at line 1: value must be enclosed in single quotes")),
            ("K='v'w", Err("at line 1: unexpected content after closing quote")),
            ("A='1'\nK='v", Err("starting at line 2: unclosed single quote")),
        ] {
            let expected = found.map(|value| value.map(str::to_string));
            let expected = expected.map_err(|why| format!("invalid environment variable format {why}"));
            assert_eq!(find(text, "K"), expected, "{text}");
        }
    }
}
