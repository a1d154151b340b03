//! AppArmor: which profile a container runs under, and ours for those that name none. Others are loaded into the kernel by whoever
//! made them; ours is loaded when it is first needed.

use holdfast_runtime::RuntimeError;
use std::io::Write;
use std::process::{Command, Stdio};

/// The profiles that the kernel has, a line each.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Whether the kernel has AppArmor switched on.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// Our profile.
const OWN: &str = "holdfast-default";
const OWN_TEXT: &str = include_str!("apparmor/holdfast-default");
/// Profiles of other runtimes for containers in general, where ours cannot be loaded; in the order of preference.
const OTHERS: [&str; 2] = ["cri-containerd.apparmor.d", "docker-default"];

/// What is to be done for a container.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// No profile.
    None,
    /// This one is loaded.
    Loaded(String),
    /// Ours is to be loaded first.
    Load,
}

/// The profile for what was asked; `None` for none. Loads ours when it is not there yet. Blocks.
///
/// # Errors
/// [`RuntimeError::Config`] when it is not loaded, or cannot be.
pub(crate) fn profile(asked: &str) -> Result<Option<String>, RuntimeError> {
    if asked == "Unconfined" {
        return Ok(None);
    }
    let enabled = std::fs::read_to_string(ENABLED).is_ok_and(|enabled| enabled.starts_with('Y'));
    let loaded = std::fs::read_to_string(LOADED).unwrap_or_default();
    match choose(asked, enabled, &loaded)? {
        Choice::None => Ok(None),
        Choice::Loaded(name) => Ok(Some(name)),
        Choice::Load => without_own(asked, &loaded, load()),
    }
}

/// Where nothing is asked, the default is applied where the kernel has AppArmor, as by other runtimes.
fn choose(asked: &str, enabled: bool, loaded: &str) -> Result<Choice, RuntimeError> {
    if let Some(name) = asked.strip_prefix("Localhost/") {
        return match known(loaded, name) {
            true => Ok(Choice::Loaded(name.to_string())),
            false => Err(RuntimeError::Config(format!("apparmor profile not found {name}"))),
        };
    }
    match (asked, enabled) {
        ("Unconfined", _) | ("", false) => Ok(Choice::None),
        ("RuntimeDefault", false) => Err(RuntimeError::Config("AppArmor is not enabled on the host".into())),
        ("" | "RuntimeDefault", true) if known(loaded, OWN) => Ok(Choice::Loaded(OWN.into())),
        ("" | "RuntimeDefault", true) => Ok(Choice::Load),
        _ => Err(RuntimeError::Config(format!("unknown AppArmor profile {asked:?}"))),
    }
}

/// Ours, if it could be loaded, or else one of another runtime. A container that asks for nothing starts without as well.
fn without_own(asked: &str, loaded: &str, own: Result<(), String>) -> Result<Option<String>, RuntimeError> {
    let Err(why) = own else { return Ok(Some(OWN.into())) };
    let other = OTHERS.into_iter().find(|name| known(loaded, name)).map(str::to_string);
    match (other, asked) {
        (Some(other), _) => Ok(Some(other)),
        (None, "") => {
            tracing::warn!(why, "A container starts without an AppArmor profile: {OWN} cannot be loaded");
            Ok(None)
        }
        (None, _) => {
            let names = OTHERS.join(" nor ");
            Err(RuntimeError::Config(format!(
                "AppArmor profile {OWN} cannot be loaded: {why}; and neither {names} is loaded"
            )))
        }
    }
}

fn known(loaded: &str, name: &str) -> bool {
    loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(known, _)| known == name))
}

/// Compiles our profile and loads it: the kernel takes only what is compiled.
fn load() -> Result<(), String> {
    let failed = |err: std::io::Error| match err.kind() {
        std::io::ErrorKind::NotFound => "apparmor_parser is not installed (package apparmor)".to_string(),
        _ => format!("apparmor_parser: {err}"),
    };
    let mut parser = Command::new("apparmor_parser");
    // Without its cache: nothing of ours is left on the system.
    parser.args(["--replace", "--skip-cache"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = parser.spawn().map_err(failed)?;
    let fed = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(OWN_TEXT.as_bytes()));
    let out = child.wait_with_output().map_err(failed)?;
    if !out.status.success() {
        return Err(format!("apparmor_parser: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    fed.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_must_be_loaded_and_the_default_is_ours() {
        let loaded = "mine (enforce)\ndocker-default (enforce)\nlxc://other (complain)\n";
        let with_own = format!("{OWN} (enforce)\n{loaded}");
        for enabled in [false, true] {
            assert_eq!(choose("Localhost/mine", enabled, loaded), Ok(Choice::Loaded("mine".into())));
            assert_eq!(choose("Unconfined", enabled, loaded), Ok(Choice::None));
            let err = choose("Localhost/min", enabled, loaded).unwrap_err();
            assert_eq!(err.to_string(), "apparmor profile not found min");
            assert!(choose("Other", enabled, loaded).is_err());
        }
        assert_eq!(choose("", false, ""), Ok(Choice::None));
        let err = choose("RuntimeDefault", false, loaded).unwrap_err();
        assert_eq!(err.to_string(), "AppArmor is not enabled on the host");
        for asked in ["", "RuntimeDefault"] {
            assert_eq!(choose(asked, true, loaded), Ok(Choice::Load));
            assert_eq!(choose(asked, true, &with_own), Ok(Choice::Loaded(OWN.into())));
        }
        assert_eq!(profile("Unconfined").unwrap(), None);
    }

    #[test]
    fn where_ours_cannot_be_loaded_another_is_taken_or_the_reason_is_told() {
        let why = || Err("no parser".to_string());
        assert_eq!(without_own("RuntimeDefault", "", Ok(())).unwrap().as_deref(), Some(OWN));
        let other = "docker-default (enforce)\n";
        assert_eq!(without_own("RuntimeDefault", other, why()).unwrap().as_deref(), Some("docker-default"));
        assert_eq!(without_own("", "", why()).unwrap(), None);
        let err = without_own("RuntimeDefault", "", why()).unwrap_err().to_string();
        assert!(err.starts_with("AppArmor profile holdfast-default cannot be loaded: no parser"), "{err}");
    }

    /// Only the parser itself can say whether the text is a profile; machines without it pass by.
    #[test]
    fn the_parser_takes_our_profile() {
        let mut parser = Command::new("apparmor_parser");
        parser.args(["--skip-kernel-load", "--skip-cache"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = parser.spawn() else {
            println!("apparmor_parser is not installed: the profile's text is not compiled");
            return;
        };
        child.stdin.take().unwrap().write_all(OWN_TEXT.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(OWN_TEXT.contains(&format!("profile {OWN} ")));
    }
}
