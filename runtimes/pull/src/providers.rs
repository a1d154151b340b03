//! The kubelet's image credential provider plugins (`CredentialProviderConfig` of `kubelet.config.k8s.io`, exec protocol
//! `credentialprovider.kubelet.k8s.io`): programs of clouds that know the password of the hour for their registries.
//!
//! What they give stands behind the pod's own Secrets, belongs to the node, and is kept in memory for as long as the plugin
//! says. A plugin that fails costs its credentials and nothing else: the registry then says what it thinks of a pull without.
//! *Absent:* tokens of ServiceAccounts (`tokenAttributes`), which are refused when the settings are read.

use crate::limits;
use holdfast_core::Span;
use holdfast_env::World;
use holdfast_runtime::{Keyring, PullAuth, credentials};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const API_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
const CONFIG_VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    api_version: String,
    kind: String,
    providers: Vec<Provider>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: Span,
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    #[serde(default)]
    token_attributes: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: &'a str,
    kind: &'static str,
    image: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: String,
    cache_duration: Option<Span>,
    #[serde(default)]
    auth: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// What a plugin gave, for whom, and until when on the monotonic clock.
struct Kept {
    provider: usize,
    key: String,
    keyring: Keyring,
    ends: Duration,
}

/// The plugins of a node.
pub struct Providers {
    dir: PathBuf,
    all: Vec<Provider>,
    kept: Mutex<Vec<Kept>>,
    /// One plugin runs at a time: who waits finds what the one before it was given.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.all.iter().map(|provider| provider.name.as_str()).collect();
        write!(f, "Providers({names:?})")
    }
}

impl Providers {
    /// Reads the settings: a file, or a folder of them. The programs lie in `dir`. Blocks.
    ///
    /// # Errors
    /// What is wrong with them, and where.
    pub fn read(config: &Path, dir: &Path) -> Result<Providers, String> {
        let mut files = vec![config.to_path_buf()];
        if config.is_dir() {
            let entries = std::fs::read_dir(config).map_err(|err| format!("{}: {err}", config.display()))?;
            let fits = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
            };
            files = entries.flatten().map(|entry| entry.path()).filter(|path| fits(path) && path.is_file()).collect();
            files.sort();
            if files.is_empty() {
                return Err(format!("no configuration files found in directory {:?}", config.display().to_string()));
            }
        }
        let mut all: Vec<Provider> = Vec::new();
        for file in files {
            let told = |why: String| format!("{}: {why}", file.display());
            let bytes = crate::tls::file(&file)?;
            let text = String::from_utf8(bytes).map_err(|_| told("it is no text".into()))?;
            for provider in read(&text).map_err(told)? {
                if all.iter().any(|known| known.name == provider.name) {
                    return Err(told(format!("duplicate provider name {:?}", provider.name)));
                }
                let program = dir.join(&provider.name);
                if !is_program(&program) {
                    return Err(told(format!("plugin binary executable {} did not exist", program.display())));
                }
                all.push(provider);
            }
        }
        Ok(Providers { dir: dir.to_path_buf(), all, kept: Mutex::default(), turn: tokio::sync::Mutex::new(()) })
    }

    /// What the plugins that are for it give for a repository (`registry/path`).
    pub(crate) async fn credentials(&self, world: &World, repository: &str) -> Keyring {
        let mut all = Keyring::default();
        for (index, provider) in self.all.iter().enumerate() {
            if !provider.match_images.iter().any(|pattern| credentials::covers(pattern, repository)) {
                continue;
            }
            let _turn = self.turn.lock().await;
            if let Some(keyring) = self.find(index, repository, world.monotonic().0) {
                all.extend(keyring);
                continue;
            }
            match self.ask(world, provider, repository).await {
                Ok(response) => match self.take(index, repository, response, world.monotonic().0) {
                    Ok(keyring) => all.extend(keyring),
                    Err(why) => tracing::warn!(plugin = provider.name, why, "A credential provider makes no sense"),
                },
                Err(why) => tracing::warn!(plugin = provider.name, why, "A credential provider failed"),
            }
        }
        all
    }

    fn find(&self, provider: usize, repository: &str, now: Duration) -> Option<Keyring> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.ends > now);
        let keys = [format!("image {repository}"), format!("registry {}", registry(repository)), "global".to_string()];
        let of = |key: &String| kept.iter().find(|kept| kept.provider == provider && kept.key == *key);
        keys.iter().find_map(of).map(|kept| kept.keyring.clone())
    }

    fn take(&self, provider: usize, repository: &str, response: Response, now: Duration) -> Result<Keyring, String> {
        let key = match response.cache_key_type.as_str() {
            "Image" => format!("image {repository}"),
            "Registry" => format!("registry {}", registry(repository)),
            "Global" => "global".to_string(),
            other => {
                return Err(format!("credential provider plugin did not return a valid cacheKeyType: {other:?}"));
            }
        };
        let mut keyring = Keyring::default();
        for (place, Auth { username, password }) in response.auth {
            keyring.insert(&place, PullAuth { username, password });
        }
        let life = response.cache_duration.unwrap_or(self.all[provider].default_cache_duration).0;
        if !life.is_zero() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|kept| kept.provider != provider || kept.key != key);
            if kept.len() >= limits::PROVIDED {
                kept.remove(0);
            }
            kept.push(Kept { provider, key, keyring: keyring.clone(), ends: now.saturating_add(life) });
        }
        Ok(keyring)
    }

    async fn ask(&self, world: &World, provider: &Provider, image: &str) -> Result<Response, String> {
        let request = Request { api_version: &provider.api_version, kind: "CredentialProviderRequest", image };
        let request = serde_json::to_vec(&request).map_err(|err| err.to_string())?;
        let mut command = Command::new(self.dir.join(&provider.name));
        command.args(&provider.args).envs(provider.env.iter().map(|variable| (&variable.name, &variable.value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let talk = async {
            let mut child = command.spawn()?;
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that does not read its request may answer all the same.
                    let _ = stdin.write_all(&request).await;
                }
            };
            let (mut said, mut complained) = (Vec::new(), Vec::new());
            let read = async {
                if let Some(stdout) = stdout {
                    stdout.take(limits::PROVIDER_BYTES).read_to_end(&mut said).await?;
                }
                std::io::Result::Ok(())
            };
            let complain = async {
                if let Some(stderr) = stderr {
                    stderr.take(limits::ERROR_BYTES as u64).read_to_end(&mut complained).await?;
                }
                std::io::Result::Ok(())
            };
            let ((), read, complain) = tokio::join!(write, read, complain);
            read?;
            complain?;
            std::io::Result::Ok((child.wait().await?, said, complained))
        };
        let name = &provider.name;
        let failed = |why: String| format!("error execing credential provider plugin {name} for image {image}: {why}");
        let done = world.timeout(limits::PROVIDER, talk).await;
        let done = done.ok_or_else(|| failed(format!("it took longer than {} s", limits::PROVIDER.as_secs())))?;
        let (status, said, complained) = done.map_err(|err| failed(err.to_string()))?;
        if !status.success() {
            let words: String = String::from_utf8_lossy(&complained).chars().take(limits::ERROR_TEXT).collect();
            return Err(failed(format!("{status}: {}", words.trim())));
        }
        // Not with the reason: it may quote a password.
        let response: Response = serde_json::from_slice(&said)
            .map_err(|_| "error decoding credential provider plugin response from stdout".to_string())?;
        if response.kind != "CredentialProviderResponse" || response.api_version != provider.api_version {
            return Err(format!(
                "it answered with {} of {}, and not with CredentialProviderResponse of {}",
                response.kind, response.api_version, provider.api_version
            ));
        }
        Ok(response)
    }
}

fn registry(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn read(text: &str) -> Result<Vec<Provider>, String> {
    let config: Config = serde_saphyr::from_str(text).map_err(|err| err.to_string())?;
    if config.kind != "CredentialProviderConfig" || !CONFIG_VERSIONS.contains(&config.api_version.as_str()) {
        return Err(format!("it is {} of {}, and no CredentialProviderConfig", config.kind, config.api_version));
    }
    if config.providers.is_empty() || config.providers.len() > limits::PROVIDERS {
        return Err(format!("providers: there must be 1 to {}", limits::PROVIDERS));
    }
    for (index, provider) in config.providers.iter().enumerate() {
        let wrong = |field: &str, why: String| Err(format!("providers[{index}].{field}: {why}"));
        let name = &provider.name;
        if name.is_empty() || name.contains(['/', ' ']) || name == "." || name == ".." {
            return wrong("name", format!("{name:?} cannot be the name of a program"));
        }
        if !API_VERSIONS.contains(&provider.api_version.as_str()) {
            return wrong("apiVersion", format!("{:?} is none of {}", provider.api_version, API_VERSIONS.join(", ")));
        }
        if provider.match_images.is_empty() {
            return wrong("matchImages", "at least 1 item in matchImages is required".into());
        }
        if let Some(bad) = provider.match_images.iter().find(|image| image.is_empty() || image.contains("://")) {
            return wrong("matchImages", format!("{bad:?} is invalid: it must have no scheme"));
        }
        if provider.token_attributes.is_some() {
            return wrong("tokenAttributes", "not implemented: tokens of ServiceAccounts for plugins".into());
        }
    }
    Ok(config.providers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    const CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n\
                          - name: sh\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n  defaultCacheDuration: 1h0m0s\n  \
                          matchImages: ['*.r.example/team']\n  args: [SCRIPT, one]\n  env: [{name: FROM_CONFIG, value: two}]\n";

    /// A plugin that counts its calls, keeps its last request and answers with this.
    fn plugin(dir: &Path, answer: &str) -> Providers {
        std::fs::write(dir.join("answer"), answer).unwrap();
        let at = dir.display();
        let script = format!(
            "cat > {at}/request\necho $1 $FROM_CONFIG >> {at}/calls\n\
             [ -s {at}/answer ] || {{ echo no luck >&2; exit 3; }}\ncat {at}/answer\n"
        );
        std::fs::write(dir.join("script"), script).unwrap();
        // The shell itself is the plugin: a script that was just written may still be held open by another test's child.
        let config = CONFIG.replace("SCRIPT", &dir.join("script").display().to_string());
        std::fs::write(dir.join("config.yaml"), config).unwrap();
        Providers::read(&dir.join("config.yaml"), Path::new("/bin")).unwrap()
    }

    fn answer(key: &str, life: &str) -> String {
        format!(
            r#"{{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse", {life}
                "cacheKeyType": "{key}", "auth": {{"*.r.example": {{"username": "ann", "password": "hour"}}}}}}"#
        )
    }

    #[tokio::test]
    async fn a_plugin_is_asked_for_its_images_and_what_it_gives_is_kept_as_it_says() {
        for (key, life, calls) in
            [("Registry", "", 2), ("Image", "", 3), ("Global", "", 1), ("Global", r#""cacheDuration": "0s","#, 4)]
        {
            let dir = tempfile::tempdir().unwrap();
            let providers = plugin(dir.path(), &answer(key, life));
            let world: World = HostEnv::new(dir.path());
            for repository in ["a.r.example/team/x", "a.r.example/team/x", "a.r.example/team/y", "b.r.example/team/x"] {
                let found = providers.credentials(&world, repository).await.lookup(repository);
                assert_eq!(found, [PullAuth { username: "ann".into(), password: "hour".into() }], "{key}");
            }
            assert_eq!(providers.credentials(&world, "a.r.example/other").await, Keyring::default());
            let said = std::fs::read_to_string(dir.path().join("calls")).unwrap();
            assert_eq!(said, "one two\n".repeat(calls), "{key} {life}");
            let request: serde_json::Value =
                serde_json::from_slice(&std::fs::read(dir.path().join("request")).unwrap()).unwrap();
            assert_eq!(request["kind"], "CredentialProviderRequest");
            assert!(request["image"].as_str().unwrap().contains(".r.example/team/"));
        }
    }

    #[tokio::test]
    async fn a_plugin_that_fails_gives_nothing() {
        for wrong in ["", "{}", &answer("Never", ""), &answer("Image", "").replace("/v1", "/v2")] {
            let dir = tempfile::tempdir().unwrap();
            let providers = plugin(dir.path(), wrong);
            let world: World = HostEnv::new(dir.path());
            assert_eq!(providers.credentials(&world, "a.r.example/team/x").await, Keyring::default(), "{wrong}");
        }
        let dir = tempfile::tempdir().unwrap();
        let providers = plugin(dir.path(), "");
        let world: World = HostEnv::new(dir.path());
        let said = providers.ask(&world, &providers.all[0], "r.example/x").await.err().unwrap();
        assert!(said.ends_with("for image r.example/x: exit status: 3: no luck"), "{said}");
    }

    #[test]
    fn settings_are_checked() {
        let wrong = |from: &str, to: &str| read(&CONFIG.replace(from, to)).err().unwrap();
        assert_eq!(wrong("name: sh", "name: a/b"), "providers[0].name: \"a/b\" cannot be the name of a program");
        assert!(wrong("credentialprovider.kubelet.k8s.io/v1", "x/v1").starts_with("providers[0].apiVersion: \"x/v1\""));
        assert!(wrong("['*.r.example/team']", "[]").starts_with("providers[0].matchImages: at least 1"));
        assert!(
            wrong("args: [SCRIPT, one]", "tokenAttributes: {}")
                .starts_with("providers[0].tokenAttributes: not implemented")
        );
        assert!(wrong("kind: C", "kind: D").contains("no CredentialProviderConfig"));
        assert!(wrong("  args", "  arg").contains("arg"));
        let dir = tempfile::tempdir().unwrap();
        let said = Providers::read(dir.path(), dir.path()).unwrap_err();
        assert!(said.starts_with("no configuration files found"), "{said}");
        std::fs::write(dir.path().join("a.yaml"), CONFIG).unwrap();
        let said = Providers::read(dir.path(), dir.path()).unwrap_err();
        assert!(said.ends_with("/sh did not exist"), "{said}");
    }
}
