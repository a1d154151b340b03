//! What we ship for boxes must agree: profiles with `cross.toml`, systemd units with the programs' command line.

// Clippy lets tests unwrap, and takes functions beside them for something else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_profiles::{find, shipped};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cross() -> toml::Table {
    std::fs::read_to_string(root().join("cross.toml")).unwrap().parse().unwrap()
}

#[test]
fn every_profile_builds_for_a_target_of_cross_toml() {
    let cross = cross();
    let targets = cross["target"].as_table().unwrap();
    let profiles = shipped().unwrap();
    for profile in &profiles {
        assert!(targets.contains_key(&profile.target), "{}: {} is not in cross.toml", profile.name, profile.target);
        assert_eq!(&find(&profile.name).unwrap(), profile);
    }
    for target in targets.keys() {
        assert!(profiles.iter().any(|p| p.target == *target), "no device needs {target} of cross.toml");
    }
}

#[test]
fn cross_toml_holds_only_what_cross_reads_and_images_of_this_machine() {
    let cross = cross();
    assert_eq!(cross.keys().collect::<Vec<_>>(), ["build", "target"]);
    let passed = cross["build"]["env"]["passthrough"].as_array().unwrap();
    assert!(passed.iter().any(|v| v.as_str() == Some("CARGO_NET_OFFLINE")), "the build in the image is offline");
    for (target, settings) in cross["target"].as_table().unwrap() {
        let image = settings["image"].as_str().unwrap();
        let architecture = target.split('-').next().unwrap();
        assert_eq!(image, format!("localhost/holdfast-cross-{architecture}"));
    }
}

#[test]
fn every_data_file_is_shipped_under_its_name() {
    let names: Vec<String> = shipped().unwrap().into_iter().map(|p| p.name).collect();
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("data")).unwrap();
    let mut files: Vec<String> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut expected: Vec<String> = names.iter().map(|n| format!("{n}.toml")).collect();
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn an_unknown_device_lists_the_known_ones() {
    assert!(find("rpi9").unwrap_err().to_string().ends_with("generic-arm64, generic-armv7, x86-64-uefi"));
}

/// Sections of a unit file, each key's values in order.
type Unit = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn unit(name: &str) -> Unit {
    let text = std::fs::read_to_string(root().join("hardware/systemd").join(name)).unwrap();
    let (mut unit, mut section) = (Unit::new(), String::new());
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';'])) {
        match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line:?} is no assignment"));
                let keys = unit.entry(section.clone()).or_default();
                keys.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
    }
    unit
}

/// Unit, program, verb, and every flag of that verb (the command line that DESIGN §14 and the agents' manual promise).
/// `tests/e2e` holds the same flags against the programs' own `--help`.
const COMMANDS: [(&str, &str, &str, &[&str]); 3] = [
    (
        "holdfast-hub.service",
        "/usr/bin/holdfast-hub",
        "serve",
        &["--data-dir", "--listen", "--link-listen", "--config", "--advertise", "--cluster-cidr", "--service-cidr"],
    ),
    (
        "holdfast-edge.service",
        "/usr/bin/holdfast-edge",
        "agent",
        &[
            "--hub",
            "--token",
            "--node-name",
            "--data-dir",
            "--node-ip",
            "--containerd-socket",
            "--wasm-socket",
            "--cgroup-parent",
            "--clock-offset-file",
            "--config",
        ],
    ),
    ("holdfast-wasm.service", "/usr/bin/holdfast-wasm", "serve", &["--socket", "--data-dir"]),
];

#[test]
fn units_start_our_programs_with_flags_that_they_have() {
    for (name, program, verb, flags) in COMMANDS {
        let unit = unit(name);
        assert_eq!(unit.keys().collect::<Vec<_>>(), ["Install", "Service", "Unit"], "{name}");
        let starts = &unit["Service"]["ExecStart"];
        assert_eq!(starts.len(), 1, "{name}");
        let words: Vec<&str> = starts[0].split_whitespace().collect();
        assert_eq!(words[..2], [program, verb], "{name}");
        for pair in words[2..].chunks(2) {
            assert!(flags.contains(&pair[0]), "{name}: {verb} has no flag {}", pair[0]);
            assert!(pair.len() == 2 && !pair[1].starts_with("--"), "{name}: {} has no value", pair[0]);
        }
        assert_eq!(unit["Service"]["Restart"], ["always"], "{name}");
        assert!(unit["Install"].contains_key("WantedBy"), "{name}");
    }
}

#[test]
fn pods_outlive_the_agent_and_its_start_waits_for_no_network() {
    let unit = unit("holdfast-edge.service");
    assert_eq!(unit["Service"]["KillMode"], ["process"]);
    for key in ["After", "Wants", "Requires", "BindsTo"] {
        let values = unit["Unit"].get(key).cloned().unwrap_or_default().join(" ");
        assert!(!values.contains("network"), "{key}={values}");
    }
}

#[test]
fn pods_are_stopped_before_what_they_need_when_the_machine_goes_down() {
    let unit = unit("holdfast-shutdown.service");
    let service = &unit["Service"];
    assert_eq!((&service["Type"][0], &service["RemainAfterExit"][0]), (&"oneshot".into(), &"yes".into()));
    assert_eq!(service["ExecStop"], ["/usr/bin/holdfast-edge shutdown"]);
    let after = unit["Unit"]["After"].join(" ");
    for needed in ["holdfast-edge.service", "holdfast-wasm.service", "containerd.service", "network.target"] {
        assert!(
            after.split(' ').any(|name| name == needed),
            "{needed}: systemd stops in the reverse order of {after:?}"
        );
    }
    // The agent's own end must not be this unit's, and the default dependencies make the machine's end so.
    for key in ["PartOf", "BindsTo", "Requires", "DefaultDependencies"] {
        assert!(!unit["Unit"].contains_key(key), "{key}");
    }
    assert_eq!(unit["Install"]["WantedBy"], ["multi-user.target"]);
}
