//! House rules of single files: a header, a size, a name that says whom it serves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Above, a file is mentioned; above the second, it is an error.
const LONG: usize = 600;
const TOO_LONG: usize = 800;
const BANNED_NAMES: [&str; 4] = ["utils", "helpers", "common", "misc"];
/// Code over `Env`: the simulator must see the same choices in every run, and tokio's `select!` draws lots otherwise.
const OVER_ENV: [&str; 10] = [
    "edge-node/node/src/",
    "edge-node/pods/src/",
    "hub/links/src/",
    "hub/registry/src/",
    "netmesh/link/src/",
    "controllers/",
    "storage/store/src/",
    "storage/edge/src/",
    "tests/world/",
    "tests/sim/",
];
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", ".holdfast"];

/// Problems and notes.
pub(crate) fn check(root: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_symlink() || SKIPPED_FOLDERS.contains(&name.as_str()) {
                continue;
            }
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let stem = name.trim_end_matches(".rs");
            if BANNED_NAMES.contains(&stem) {
                problems.push(format!("{shown}: the name {stem:?} says what it is made of, not whom it serves"));
            }
            if path.is_dir() {
                todo.push(path);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("reading {shown}"))?;
                check_source(&shown, &text, &mut problems, &mut notes);
            }
        }
    }
    Ok((problems, notes))
}

fn check_source(shown: &str, text: &str, problems: &mut Vec<String>, notes: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > TOO_LONG {
        problems.push(format!("{shown} has {lines} lines (at most {TOO_LONG}); split it by meaning"));
    } else if lines > LONG {
        notes.push(format!("{shown} has {lines} lines (more than {LONG})"));
    }
    if OVER_ENV.iter().any(|folder| shown.starts_with(folder)) {
        let mut lines = text.lines().map(str::trim).enumerate();
        while let Some((at, line)) = lines.next() {
            let opens = line.ends_with("select! {") && !line.starts_with("//");
            if opens && lines.next().is_none_or(|(_, next)| next != "biased;") {
                problems.push(format!("{shown}:{}: a `select!` over Env begins with `biased;`", at + 1));
            }
        }
    }
    // A file of tests belongs to the module that it tests, or to the `main.rs` beside it.
    if shown.ends_with("tests.rs") || (shown.contains("tests/it/") && !shown.ends_with("main.rs")) {
        return;
    }
    // Inner attributes may come first.
    let mut code = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("#!["));
    if !code.next().is_some_and(|first| first.starts_with("//!")) {
        problems.push(format!("{shown} has no header (//!) that says why it exists"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_header_or_with_a_banned_name_are_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/src")).unwrap();
        fs::create_dir_all(dir.path().join("target")).unwrap();
        fs::write(dir.path().join("a/src/lib.rs"), "#![allow(x)]\n\n//! Fine.\n").unwrap();
        fs::write(dir.path().join("a/src/utils.rs"), "//! Named badly.\n").unwrap();
        fs::write(dir.path().join("a/src/bare.rs"), "fn f() {}\n").unwrap();
        fs::write(dir.path().join("a/src/long.rs"), format!("//! Long.\n{}", "\n".repeat(900))).unwrap();
        fs::write(dir.path().join("a/src/longish.rs"), format!("//! Long.\n{}", "\n".repeat(650))).unwrap();
        fs::write(dir.path().join("a/src/tests.rs"), "use super::*;\n").unwrap();
        fs::write(dir.path().join("target/x.rs"), "").unwrap();
        let (problems, notes) = check(dir.path()).unwrap();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("bare.rs has no header"));
        assert!(problems[1].contains("long.rs has 901 lines"));
        assert!(problems[2].contains("utils"));
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn a_select_over_env_that_draws_lots_is_found() {
        let (fair, biased) = ("tokio::select! {\n    a = b => {}", "tokio::select! {\n    biased;\n    a = b => {}");
        for (folder, text, found) in [("hub/links/src", fair, 1), ("hub/links/src", biased, 0), ("xtask/src", fair, 0)]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("x.rs"), format!("//! X.\n{text}\n}}\n")).unwrap();
            let (problems, _) = check(dir.path()).unwrap();
            assert_eq!(problems.len(), found, "{folder}: {problems:?}");
        }
    }
}
