//! Which hosts may have the images of a registry: containerd's `hosts.toml`, one folder a registry.
//!
//! Mirrors come in the order of the file, the registry itself last. Without a file it is the registry alone, over TLS; plain
//! HTTP is spoken with this machine alone, unless a file says so. Keys that are not known are left alone, as containerd does:
//! the file is its.

use crate::limits::HOSTS;
use crate::url::Url;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

/// How a host is spoken with over TLS, as files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// Files of authorities to trust beside the system's.
    pub ca: Vec<PathBuf>,
    /// Certificate chain and key to show.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Any certificate will do.
    pub skip_verify: bool,
}

/// A host that may have images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where its API begins, the `/v2` included.
    pub base: Url,
    /// It may say what a tag means.
    pub resolve: bool,
    /// It may give content by digest.
    pub pull: bool,
    /// It is not the registry itself: it is told of which registry, and has credentials of its own.
    pub mirror: bool,
    /// TLS.
    pub tls: Arc<HostTls>,
    /// Headers of each request to it.
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one.clone()],
            OneOrMany::Many(many) => many.clone(),
        }
    }
}

/// A file with both, some of them, or pairs of certificate and key.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Client {
    Files(OneOrMany),
    Pairs(Vec<OneOrMany>),
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: bool,
    override_path: bool,
    header: BTreeMap<String, OneOrMany>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    server: Option<String>,
    host: BTreeMap<Spanned<String>, Settings>,
}

/// Names of the folders that may hold the file of a registry, in the order of looking.
pub fn folders(registry: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
        names.push(format!("{host}_{port}_"));
    }
    names.extend([registry.to_string(), "_default".to_string()]);
    names
}

/// The registry itself, without a file.
///
/// # Errors
/// When the registry's name is no host.
pub fn without_file(registry: &str) -> Result<Vec<Host>, String> {
    host(&server_of(registry), registry, &Settings::default(), Path::new(""), false).map(|host| vec![host])
}

/// Where images of a registry are, by the registry's name alone.
fn server_of(registry: &str) -> String {
    match registry {
        // The one registry whose images bear another name than its host.
        "docker.io" => "https://registry-1.docker.io".to_string(),
        registry if is_this_machine(registry) => format!("http://{registry}"),
        registry => format!("https://{registry}"),
    }
}

fn is_this_machine(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reads the file of a registry; `folder` is where it lies, and where the files that it names are looked for.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str, folder: &Path, registry: &str) -> Result<Vec<Host>, String> {
    let parse = |err: toml::de::Error| {
        let start = err.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line}: {}", err.message())
    };
    let file: File = toml::from_str(text).map_err(parse)?;
    // What stands beside `server` is about the server.
    let own: Settings = toml::from_str(text).map_err(parse)?;
    if file.host.len() >= HOSTS {
        return Err(format!("it has {} hosts; the most is {HOSTS}", file.host.len()));
    }
    let mut mirrors: Vec<(&Spanned<String>, &Settings)> = file.host.iter().collect();
    mirrors.sort_by_key(|(name, _)| name.span().start);
    let server = file.server.unwrap_or_else(|| server_of(registry));
    let mut hosts = Vec::new();
    for (name, settings) in mirrors {
        hosts.push(host(name.get_ref(), registry, settings, folder, true)?);
    }
    let server = host(&server, registry, &own, folder, false)?;
    // The server may stand among the hosts, with settings of its own.
    match hosts.iter_mut().find(|host| host.base == server.base) {
        Some(same) => same.mirror = false,
        None => hosts.push(server),
    }
    Ok(hosts)
}

fn host(place: &str, registry: &str, settings: &Settings, folder: &Path, mirror: bool) -> Result<Host, String> {
    let full = if place.contains("://") { place.to_string() } else { server_of(place) };
    let url = Url::parse(&full)?;
    if url.path.contains('?') {
        return Err(format!("{place:?} has a query, which a host cannot have"));
    }
    let path = url.path.trim_end_matches('/');
    let path = match path {
        "" => "/v2".to_string(),
        path if settings.override_path || path.ends_with("/v2") => path.to_string(),
        path => format!("{path}/v2"),
    };
    let base = url.with_path(path);
    let mirror = mirror && base.authority() != registry;
    let can = |what: &str| settings.capabilities.as_ref().is_none_or(|all| all.iter().any(|one| one == what));
    let at = |file: &String| folder.join(file);
    let tls = HostTls {
        ca: settings.ca.iter().flat_map(OneOrMany::list).map(|file| at(&file)).collect(),
        client: settings.client.as_ref().and_then(client).map(|(chain, key)| (at(&chain), at(&key))),
        skip_verify: settings.skip_verify,
    };
    let headers = settings
        .header
        .iter()
        .flat_map(|(name, values)| values.list().into_iter().map(move |value| (name.to_ascii_lowercase(), value)));
    let headers: Vec<(String, String)> = headers.collect();
    for (name, value) in &headers {
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
            return Err(format!("{place}: {name:?} is no header"));
        }
    }
    Ok(Host { base, resolve: can("resolve"), pull: can("pull"), mirror, tls: Arc::new(tls), headers })
}

/// The first certificate and key; a file alone holds both.
fn client(settings: &Client) -> Option<(String, String)> {
    let pair = |files: Vec<String>| {
        let chain = files.first()?.clone();
        let key = files.get(1).filter(|key| !key.is_empty()).cloned().unwrap_or_else(|| chain.clone());
        Some((chain, key))
    };
    match settings {
        Client::Files(files) => pair(files.list().into_iter().take(1).collect()),
        Client::Pairs(pairs) => pair(pairs.first()?.list()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(hosts: &[Host]) -> Vec<String> {
        hosts.iter().map(|host| host.base.to_string()).collect()
    }

    #[test]
    fn without_a_file_it_is_the_registry_over_tls() {
        for (registry, base) in [
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("r.example:5000", "https://r.example:5000/v2"),
            ("localhost:5000", "http://localhost:5000/v2"),
            ("127.0.0.9", "http://127.0.0.9/v2"),
            ("[::1]:5000", "http://[::1]:5000/v2"),
            ("localhost.example", "https://localhost.example/v2"),
        ] {
            let hosts = without_file(registry).unwrap();
            assert_eq!(bases(&hosts), [base], "{registry}");
            assert!(hosts[0].resolve && hosts[0].pull && !hosts[0].mirror);
        }
        assert_eq!(folders("r.example:5000"), ["r.example_5000_", "r.example:5000", "_default"]);
        assert_eq!(folders("[::1]"), ["[::1]", "_default"]);
    }

    #[test]
    fn a_file_says_it_all() {
        let text = r#"
server = "https://real.example"
ca = "own.crt"

[host."https://z.example/cache"]
  capabilities = ["pull"]
  ca = ["/abs/ca.pem", "rel.pem"]
  client = [["c.crt", "c.key"], ["d.crt", "d.key"]]
  dial_timeout = "1s"
  [host."https://z.example/cache".header]
    X-One = "1"
    x-more = ["2", "3"]

[host."a.example:8080"]
  skip_verify = true
  client = "both.pem"

[host."http://m.example/x/y"]
  override_path = true
"#;
        let hosts = read(text, Path::new("/etc/c"), "r.example").unwrap();
        assert_eq!(
            bases(&hosts),
            [
                "https://z.example/cache/v2",
                "https://a.example:8080/v2",
                "http://m.example/x/y",
                "https://real.example/v2"
            ]
        );
        let [z, a, m, own] = &hosts[..] else { panic!("{hosts:?}") };
        assert!(z.pull && !z.resolve && m.resolve);
        assert_eq!(z.tls.ca, [PathBuf::from("/abs/ca.pem"), PathBuf::from("/etc/c/rel.pem")]);
        assert_eq!(z.tls.client, Some(("/etc/c/c.crt".into(), "/etc/c/c.key".into())));
        let header = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(z.headers, [header("x-one", "1"), header("x-more", "2"), header("x-more", "3")]);
        assert!(a.tls.skip_verify && !z.tls.skip_verify);
        assert_eq!(a.tls.client, Some(("/etc/c/both.pem".into(), "/etc/c/both.pem".into())));
        assert_eq!(own.tls.ca, [PathBuf::from("/etc/c/own.crt")]);
        assert_eq!(hosts.iter().map(|host| host.mirror).collect::<Vec<_>>(), [true, true, true, false]);
    }

    #[test]
    fn the_server_may_stand_among_the_hosts() {
        let text = "server = \"https://r.example\"\n[host.\"https://r.example\"]\nskip_verify = true\n";
        let hosts = read(text, Path::new("/"), "r.example").unwrap();
        assert_eq!(hosts.len(), 1);
        assert!(hosts[0].tls.skip_verify && !hosts[0].mirror);
        // The default for all registries has no server: each is its own.
        let hosts = read("[host.\"http://cache.example\"]\n", Path::new("/"), "r.example").unwrap();
        assert_eq!(bases(&hosts), ["http://cache.example/v2", "https://r.example/v2"]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let said = |text: &str| read(text, Path::new("/"), "r.example").unwrap_err();
        assert!(said("server = 1").starts_with("line 1: invalid type"), "{}", said("server = 1"));
        assert!(said("\nserver = \"ftp://x\"").contains("https:// or http://"));
        assert!(said("[host.\"https://x\".header]\n\"a b\" = \"c\"").contains("is no header"));
        let many: String = (0..HOSTS).map(|count| format!("[host.\"https://h{count}\"]\n")).collect();
        assert!(said(&many).contains("16 hosts"));
    }
}
