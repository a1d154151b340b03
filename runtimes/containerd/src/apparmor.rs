//! AppArmor profiles: which one a container runs under. They are loaded into the kernel by others.

use holdfast_runtime::RuntimeError;

/// The profiles that the kernel has, a line each.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Profiles of other runtimes for containers in general, in the order of preference.
const DEFAULTS: [&str; 2] = ["cri-containerd.apparmor.d", "docker-default"];

/// The profile for what was asked; `None` for none. Blocks.
///
/// # Errors
/// [`RuntimeError::Config`] when it is not loaded.
pub(crate) fn profile(asked: &str) -> Result<Option<String>, RuntimeError> {
    if ["", "Unconfined"].contains(&asked) {
        return Ok(None);
    }
    choose(asked, &std::fs::read_to_string(LOADED).unwrap_or_default()).map(Some)
}

fn choose(asked: &str, loaded: &str) -> Result<String, RuntimeError> {
    let known = |name: &str| loaded.lines().any(|line| line.split(" (").next() == Some(name));
    if let Some(name) = asked.strip_prefix("Localhost/") {
        return match known(name) {
            true => Ok(name.to_string()),
            false => Err(RuntimeError::Config(format!("apparmor profile not found {name}"))),
        };
    }
    if asked != "RuntimeDefault" {
        return Err(RuntimeError::Config(format!("unknown AppArmor profile {asked:?}")));
    }
    let found = DEFAULTS.into_iter().find(|name| known(name)).map(str::to_string);
    let names = DEFAULTS.join(" nor ");
    found.ok_or_else(|| {
        RuntimeError::Config(format!("not implemented: AppArmor RuntimeDefault where neither {names} is loaded"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_must_be_loaded() {
        let loaded = "mine (enforce)\ndocker-default (enforce)\nlxc://other (complain)\n";
        assert_eq!(choose("Localhost/mine", loaded).unwrap(), "mine");
        assert_eq!(choose("RuntimeDefault", loaded).unwrap(), "docker-default");
        assert_eq!(choose("Localhost/min", loaded).unwrap_err().to_string(), "apparmor profile not found min");
        assert!(choose("RuntimeDefault", "").unwrap_err().to_string().starts_with("not implemented"));
        assert_eq!(profile("Unconfined").unwrap(), None);
    }
}
