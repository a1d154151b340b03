//! `tests/conformance.md`: the tests that it names exist, its counts are right, and it has every conformance test once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FILE: &str = "tests/conformance.md";
/// All names of Kubernetes' conformance tests, in the folder of upstream's texts.
const NAMES: &str = "conformance-1.36.txt";
/// The row of the head's table that sums up.
const ALL: &str = "all";

/// How far a conformance test is covered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    Whole,
    Part,
    None,
}

/// Names, and of these: with a test, in part, none.
type Counts = [usize; 4];

/// What stands behind a name, and the tests that it names as `path::function`.
fn cover(cell: &str) -> (Cover, Vec<&str>) {
    if cell == "none" {
        return (Cover::None, Vec::new());
    }
    match cell.strip_prefix("partly: ") {
        Some(rest) => (Cover::Part, rest.split(" (").next().unwrap_or(rest).split("; ").collect()),
        None => (Cover::Whole, cell.split("; ").collect()),
    }
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.split(" | ").map(str::trim).collect())
}

/// Problems of the file. `reference` is the folder of upstream's texts, if it is there.
pub(crate) fn check(root: &Path, reference: Option<&Path>) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("reading {FILE}"))?;
    let mut problems = Vec::new();
    let (mut told, mut counted) = (BTreeMap::<String, Counts>::new(), BTreeMap::<String, Counts>::new());
    let (mut names, mut sources, mut section) = (BTreeSet::new(), BTreeMap::new(), None);
    for (at, line) in text.lines().enumerate() {
        let place = format!("{FILE}:{}", at + 1);
        if let Some(heading) = line.strip_prefix("## ") {
            section = Some(heading.trim());
        }
        let Some(cells) = cells(line) else { continue };
        match (section, &cells[..]) {
            (None, [sig, numbers @ ..]) => {
                let numbers: Vec<usize> = numbers.iter().filter_map(|cell| cell.parse().ok()).collect();
                if let Ok(counts) = Counts::try_from(numbers) {
                    told.insert((*sig).to_owned(), counts);
                }
            }
            (Some(sig), [name, cell]) if name.starts_with('[') => {
                if !name.starts_with(&format!("[{sig}] ")) {
                    problems.push(format!("{place}: {name} stands under {sig}"));
                }
                if !names.insert((*name).to_owned()) {
                    problems.push(format!("{place}: {name} stands twice"));
                }
                let (cover, tests) = cover(cell);
                if cover == Cover::Part && !cell.ends_with(')') {
                    problems.push(format!("{place}: what is missing is not said in brackets"));
                }
                problems.extend(tests.iter().filter_map(|test| missing(root, test, &mut sources, &place)));
                for key in [sig, ALL] {
                    let counts = counted.entry(key.to_owned()).or_default();
                    counts[0] += 1;
                    counts[1 + cover as usize] += 1;
                }
            }
            _ => {}
        }
    }
    let keys: BTreeSet<&String> = told.keys().chain(counted.keys()).collect();
    for key in keys {
        let (told, counted) = (told.get(key), counted.get(key));
        if told != counted {
            problems.push(format!("{FILE}: the head says {told:?} of {key}, and there are {counted:?}"));
        }
    }
    let [all, with, ..] = counted.get(ALL).copied().unwrap_or_default();
    let sentence = format!("{with} of {all} have a test");
    if !text.contains(&sentence) {
        problems.push(format!("{FILE}: its head does not say {sentence:?}"));
    }
    if let Some(reference) = reference {
        let file = reference.join(NAMES);
        let known = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let known: BTreeSet<String> = known.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        problems.extend(known.difference(&names).map(|name| format!("{FILE} has no {name}")));
        problems.extend(names.difference(&known).map(|name| format!("{FILE}: upstream has no {name}")));
    }
    Ok(problems)
}

/// Why `path::function` is no test, if it is none. Files are read once.
fn missing(root: &Path, test: &str, sources: &mut BTreeMap<String, String>, place: &str) -> Option<String> {
    let Some((path, function)) = test.split_once("::") else {
        return Some(format!("{place}: {test:?} has not the form path::function"));
    };
    if !sources.contains_key(path) {
        match fs::read_to_string(root.join(path)) {
            Ok(text) => sources.insert(path.to_owned(), text),
            Err(err) => return Some(format!("{place}: {path}: {err}")),
        };
    }
    let there = sources[path].contains(&format!("fn {function}("));
    (!there).then(|| format!("{place}: {path} has no function {function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# Conformance

1 of 3 have a test.

| sig | names | with a test | in part | none |
|---|---|---|---|---|
| sig-a | 2 | 1 | 1 | 0 |
| sig-b | 1 | 0 | 0 | 1 |
| all | 3 | 1 | 1 | 1 |

## sig-a

| name | our test |
|---|---|
| [sig-a] Pods should run [Conformance] | a/it.rs::runs; a/it.rs::stops |
| [sig-a] Pods should fly [Conformance] | partly: a/it.rs::runs (nothing flies) |

## sig-b

| name | our test |
|---|---|
| [sig-b] Nodes should sing [Conformance] | none |
";

    /// Problems of this text, beside upstream's names when there are some.
    fn problems(text: &str, names: Option<&str>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a", "tests", "reference"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("a/it.rs"), "#[test]\nfn runs() {}\n#[test]\nfn stops() {}\n").unwrap();
        fs::write(dir.path().join(FILE), text).unwrap();
        let reference = dir.path().join("reference");
        fs::write(reference.join(NAMES), names.unwrap_or_default()).unwrap();
        check(dir.path(), names.map(|_| reference.as_path())).unwrap()
    }

    #[test]
    fn what_is_right_has_no_problems() {
        assert_eq!(problems(GOOD, None), [""; 0]);
        let names = "[sig-a] Pods should run [Conformance]\n[sig-a] Pods should fly [Conformance]\n\
                     [sig-b] Nodes should sing [Conformance]\n";
        assert_eq!(problems(GOOD, Some(names)), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, words) in [
            ("a/it.rs::stops", "a/it.rs::halts", ":15: a/it.rs has no function halts"),
            ("a/it.rs::stops", "a/none.rs::stops", ":15: a/none.rs: "),
            ("a/it.rs::stops", "stops", ":15: \"stops\" has not the form path::function"),
            (" (nothing flies)", "", ":16: what is missing is not said in brackets"),
            ("| all | 3 |", "| all | 4 |", "the head says Some([4, 1, 1, 1]) of all, and there are Some([3, 1, 1, 1])"),
            ("1 of 3 have", "2 of 3 have", "its head does not say \"1 of 3 have a test\""),
            ("| sig-b | 1 | 0 | 0 | 1 |\n", "", "the head says None of sig-b"),
            ("[sig-b] Nodes", "[sig-a] Nodes", ":22: [sig-a] Nodes should sing [Conformance] stands under sig-b"),
        ] {
            let found = problems(&GOOD.replace(from, to), None);
            assert!(found.iter().any(|problem| problem.contains(words)), "{words}: {found:?}");
        }
        let twice = GOOD.replace("should fly", "should run");
        assert!(problems(&twice, None)[0].ends_with(":16: [sig-a] Pods should run [Conformance] stands twice"));
    }

    #[test]
    fn names_are_those_of_upstream() {
        let names = "[sig-a] Pods should run [Conformance]\n[sig-a] Pods should fly [Conformance]\n\
                     [sig-b] Nodes should dance [Conformance]\n";
        assert_eq!(
            problems(GOOD, Some(names)),
            [
                format!("{FILE} has no [sig-b] Nodes should dance [Conformance]"),
                format!("{FILE}: upstream has no [sig-b] Nodes should sing [Conformance]"),
            ]
        );
    }
}
