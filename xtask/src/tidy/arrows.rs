//! Which crate may use which: a table of folders, and rules for what may be reached at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::compile::cargo;
use crate::{place, process};

/// Folder, and the folders whose crates it may use (its own folder's crates aside). The longest folder that holds a
/// crate counts. DESIGN §2 is the source.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("storage", &["api"]),
    ("netmesh", &["api", "storage/store", "storage/edge"]),
    ("runtimes", &["api"]),
    ("controllers", &["api", "storage/store"]),
    ("plugins", &["api", "controllers/framework", "controllers/scheduler", "runtimes/wasm-engine"]),
    (
        "hub",
        &[
            "api",
            "storage/store",
            "storage/fjall",
            "storage/etcd",
            "storage/csi",
            "netmesh",
            "controllers",
            "plugins",
            "runtimes/wasm-engine",
            "hardware",
        ],
    ),
    ("edge-node", &["api", "storage", "netmesh", "runtimes", "controllers", "plugins", "hardware"]),
    ("hardware", &["api"]),
    ("tests", &["api", "storage", "netmesh", "runtimes", "controllers", "plugins", "hub", "edge-node", "hardware"]),
    ("xtask", &[]),
];

/// Crates without clock, task or disk of their own.
const PURE: &[&str] =
    &["api/core", "api/schema", "api/cel", "api/kinds", "netmesh/link-engine", "netmesh/site-engine", "edge-node/pods"];
const NOT_IN_PURE: &[&str] = &["tokio", "hyper", "quinn", "async-std", "smol"];

/// Heavy or delicate packages, and the only crates of ours that may reach them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("wasmtime", &["runtimes/wasm-engine", "runtimes/wasm-host", "edge-node/wasm", "plugins/host", "hub/holdfast-hub"]),
    ("sled", &["storage/edge-views", "edge-node/agent"]),
];

/// It selects every outside crate to unify features, and holds no code.
const EXEMPT: &str = "holdfast-unify";

/// Folders that DESIGN §2 names and that stand from the start.
const FOLDERS: &[&str] = &[
    "hub",
    "edge-node",
    "runtimes",
    "netmesh",
    "storage",
    "controllers",
    "plugins",
    "tests",
    "hardware",
    "api",
    "xtask",
];

pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    id: String,
}

/// What `cargo metadata` says, as far as arrows need it.
pub(crate) struct Metadata {
    root: PathBuf,
    members: Vec<Member>,
    names: BTreeMap<String, String>,
    /// Package to packages, without dev-dependencies.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Metadata {
    pub(crate) fn read() -> Result<Self> {
        let json = process::output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
        let json = serde_json::from_str(&json).context("reading cargo's metadata")?;
        Self::parse(&json, place::root())
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.name != EXEMPT)
    }

    fn parse(json: &Value, root: PathBuf) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let ours: BTreeSet<String> = list(&json["workspace_members"]).iter().filter_map(text).collect();
        let (mut names, mut members) = (BTreeMap::new(), Vec::new());
        for package in list(&json["packages"]) {
            let (id, name) = (text(&package["id"]).context("a package without id")?, text(&package["name"]));
            let name = name.context("a package without name")?;
            if ours.contains(&id) {
                let manifest = PathBuf::from(text(&package["manifest_path"]).unwrap_or_default());
                let folder = manifest.parent().unwrap_or(Path::new("/")).to_path_buf();
                members.push(Member { name: name.clone(), folder, id: id.clone() });
            }
            names.insert(id, name);
        }
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&json["resolve"]["nodes"]) {
            let shipped = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let deps = list(&node["deps"]).into_iter().filter(shipped);
            uses.insert(text(&node["id"]).unwrap_or_default(), deps.filter_map(|d| text(&d["pkg"])).collect());
        }
        Ok(Self { root, members, names, uses })
    }

    /// The folder below the root, as the tables write it.
    fn at(&self, member: &Member) -> String {
        member.folder.strip_prefix(&self.root).unwrap_or(&member.folder).to_string_lossy().into_owned()
    }

    fn direct(&self, id: &str) -> impl Iterator<Item = &String> {
        self.uses.get(id).into_iter().flatten()
    }

    /// The names on the way from a member to a package named `goal`, if it is reached.
    fn way(&self, from: &Member, goal: &str) -> Option<Vec<String>> {
        let (mut seen, mut ways) = (BTreeSet::new(), vec![vec![&from.id]]);
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            if self.names.get(*last).is_some_and(|n| n == goal) {
                return Some(way.iter().filter_map(|id| self.names.get(*id).cloned()).collect());
            }
            for next in self.direct(last) {
                if seen.insert(next) {
                    ways.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
        None
    }
}

/// All broken rules, a line each.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for folder in FOLDERS.iter().filter(|f| !metadata.root.join(f).is_dir()) {
        problems.push(format!("the folder {folder}/ of DESIGN §2 is missing"));
    }
    for member in metadata.members() {
        let at = metadata.at(member);
        problems.extend(upward_arrows(metadata, member, &at));
        if PURE.contains(&at.as_str()) {
            let ways = NOT_IN_PURE.iter().filter_map(|banned| metadata.way(member, banned));
            problems.extend(ways.map(|way| format!("{at} must stay pure, but reaches {}", way.join(" → "))));
        }
        for (package, allowed) in ONLY_IN {
            let may = allowed.contains(&at.as_str()) || at.starts_with("tests/");
            if let (false, Some(way)) = (may, metadata.way(member, package)) {
                problems.push(format!("{at} must not carry {package}, but reaches {}", way.join(" → ")));
            }
        }
    }
    problems
}

fn upward_arrows(metadata: &Metadata, member: &Member, at: &str) -> Vec<String> {
    let Some((home, allowed)) = MAY_USE.iter().find(|(folder, _)| below(at, folder)) else {
        return vec![format!("{at} lies in no folder that xtask/src/tidy/arrows.rs knows")];
    };
    let used = metadata.direct(&member.id).filter_map(|id| metadata.members.iter().find(|m| m.id == *id));
    used.map(|m| metadata.at(m))
        .filter(|to| !below(to, home) && !allowed.iter().any(|folder| below(to, folder)))
        .map(|to| format!("{at} must not use {to}: {home}/ may use {}", allowed.join(", ")))
        .collect()
}

fn below(at: &str, folder: &str) -> bool {
    at.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of (folder, uses), with the outside packages `tokio` and `wasmtime`.
    fn workspace(crates: &[(&str, &[&str])]) -> Metadata {
        let packages =
            crates.iter().map(|(at, _)| json!({"id": at, "name": at, "manifest_path": format!("/r/{at}/Cargo.toml")}));
        let outside = ["tokio", "wasmtime"].map(|n| json!({"id": n, "name": n, "manifest_path": ""}));
        let nodes = crates.iter().map(|(at, uses)| {
            let deps: Vec<Value> = uses
                .iter()
                .map(|u| match u.strip_prefix("dev:") {
                    Some(dev) => json!({"pkg": dev, "dep_kinds": [{"kind": "dev"}]}),
                    None => json!({"pkg": u, "dep_kinds": [{"kind": null}]}),
                })
                .collect();
            json!({"id": at, "deps": deps})
        });
        let json = json!({
            "workspace_members": crates.iter().map(|(at, _)| at).collect::<Vec<_>>(),
            "packages": packages.chain(outside).collect::<Vec<_>>(),
            "resolve": {"nodes": nodes.collect::<Vec<_>>()},
        });
        Metadata::parse(&json, "/r".into()).unwrap()
    }

    fn problems(crates: &[(&str, &[&str])]) -> Vec<String> {
        check(&workspace(crates)).into_iter().filter(|p| !p.contains("DESIGN §2 is missing")).collect()
    }

    #[test]
    fn arrows_down_are_fine_and_up_are_named() {
        assert!(problems(&[("api/core", &[]), ("hub/registry", &["api/core"])]).is_empty());
        let found = problems(&[("api/core", &["hub/registry"]), ("hub/registry", &[])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("api/core must not use hub/registry"), "{found:?}");
        assert_eq!(problems(&[("netmesh/mesh", &["storage/fjall"]), ("storage/fjall", &[])]).len(), 1);
        assert_eq!(problems(&[("elsewhere/x", &[])]).len(), 1);
    }

    #[test]
    fn a_folder_is_not_its_namesakes_prefix() {
        assert!(below("storage/edge", "storage/edge") && below("storage/edge/x", "storage/edge"));
        assert!(!below("storage/edge-views", "storage/edge"));
    }

    #[test]
    fn wasmtime_reaches_no_agent_even_through_others() {
        let found = problems(&[
            ("runtimes/wasm-engine", &["wasmtime"]),
            ("runtimes/wasm", &["runtimes/wasm-engine"]),
            ("edge-node/agent", &["runtimes/wasm"]),
        ]);
        assert!(found.iter().any(|p| p.contains("edge-node/agent must not carry wasmtime")), "{found:?}");
        assert!(problems(&[("runtimes/wasm", &["dev:wasmtime"])]).is_empty());
    }

    #[test]
    fn pure_crates_reach_no_tokio() {
        assert_eq!(problems(&[("api/kinds", &["tokio"])]).len(), 1);
        assert!(problems(&[("api/env", &["tokio"])]).is_empty());
    }
}
