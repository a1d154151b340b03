//! [`RegistryClient`]: does what [`crate::exchange`] says.

use crate::connections::{Connections, Content};
use crate::documents::{self, Read};
use crate::exchange::{Body, Done, Exchange, Failure, Step, Want};
use crate::hosts::{self, Host};
use crate::providers::Providers;
use crate::proxy::ProxySettings;
use crate::tokens::Tokens;
use crate::url::Url;
use crate::{limits, tls};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use holdfast_env::World;
use holdfast_runtime::image_name::repository;
use holdfast_runtime::{
    Answer, Archive, BlobStream, Descriptor, Document, Found, Keyring, Progress, PullAuth, Registries, RemoteImage,
    RemoteManifest, RuntimeError, WantedImage,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Folder with a folder for each registry that holds its `hosts.toml`. It need not exist.
    pub hosts_dir: PathBuf,
}

/// The registries, over the network of this machine.
pub struct RegistryClient {
    world: World,
    settings: RegistrySettings,
    providers: Option<Providers>,
    proxy: Arc<ProxySettings>,
    tokens: Arc<Mutex<Tokens>>,
}

/// One image of one registry, being looked for or fetched.
struct Session {
    world: World,
    connections: Connections,
    tokens: Arc<Mutex<Tokens>>,
    registry: String,
    repository: String,
    keyring: Keyring,
    hosts: Vec<Host>,
    /// Hosts that sent something else than was asked for, and mirrors that did not answer.
    avoided: Mutex<Vec<Url>>,
    /// The credentials that let us in last.
    shown: Mutex<Option<PullAuth>>,
}

/// An image that a registry offers.
struct Offered {
    session: Arc<Session>,
    image: RemoteManifest,
    progress: Progress,
}

/// A layer that comes.
struct Layer {
    session: Arc<Session>,
    exchange: Exchange,
    step: Option<Step>,
    content: Option<Content>,
    progress: Progress,
    name: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(image: &str, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::ImagePull { image: image.to_string(), reason: reason.into() }
}

fn told(image: &str, failure: Failure) -> RuntimeError {
    let reason = failure.to_string();
    match failure {
        Failure::Unreachable(_) => RuntimeError::RegistryUnreachable { image: image.to_string(), reason },
        Failure::Refused(_) | Failure::Content { .. } => refused(image, reason),
    }
}

/// The same of content that was passed on already.
fn came(image: &str, failure: Failure) -> RuntimeError {
    match failure {
        Failure::Content { reason, .. } => RuntimeError::BadImage { image: image.to_string(), reason },
        other => told(image, other),
    }
}

impl RegistryClient {
    /// A client that judges certificates by the clock of `world`.
    pub fn new(world: World, settings: RegistrySettings) -> RegistryClient {
        RegistryClient { world, settings, providers: None, proxy: Arc::default(), tokens: Arc::default() }
    }

    /// Asks these plugins for credentials too.
    #[must_use]
    pub fn with_providers(self, providers: Providers) -> RegistryClient {
        RegistryClient { providers: Some(providers), ..self }
    }

    /// Goes through these proxies.
    #[must_use]
    pub fn with_proxy(self, proxy: ProxySettings) -> RegistryClient {
        RegistryClient { proxy: Arc::new(proxy), ..self }
    }

    async fn session(&self, wanted: &WantedImage) -> Result<Arc<Session>, RuntimeError> {
        let name = repository(&wanted.name);
        let (registry, path) = name.split_once('/').unwrap_or(("docker.io", name));
        let (dir, of) = (self.settings.hosts_dir.clone(), registry.to_string());
        let hosts = self.world.blocking(move || read_hosts(&dir, &of)).await;
        let hosts = hosts.unwrap_or_else(|| Err("the node is stopping".into()));
        let mut keyring = wanted.keyring.clone();
        if let Some(providers) = &self.providers {
            keyring.extend(providers.credentials(&self.world, name).await);
        }
        Ok(Arc::new(Session {
            world: self.world.clone(),
            connections: Connections::new(self.world.clone(), self.proxy.clone()),
            tokens: self.tokens.clone(),
            registry: registry.to_string(),
            repository: path.to_string(),
            keyring,
            hosts: hosts.map_err(|why| refused(&wanted.name, why))?,
            avoided: Mutex::default(),
            shown: Mutex::default(),
        }))
    }
}

/// The hosts of a registry, as the files say. Blocks.
fn read_hosts(dir: &Path, registry: &str) -> Result<Vec<Host>, String> {
    for folder in hosts::folders(registry) {
        let folder = dir.join(folder);
        let path = folder.join("hosts.toml");
        if !path.is_file() {
            continue;
        }
        let text = String::from_utf8(tls::file(&path)?).map_err(|_| format!("{} is no text", path.display()))?;
        return hosts::read(&text, &folder, registry).map_err(|why| format!("{}: {why}", path.display()));
    }
    hosts::without_file(registry)
}

impl Session {
    fn now(&self) -> Duration {
        self.world.monotonic().0
    }

    /// Waits, a little more or less than told: a fleet of nodes must not come back in step.
    async fn wait(&self, wait: Duration) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let spread = if millis < 4 { 0 } else { self.world.random_u64() % (millis / 2) };
        self.world.sleep(Duration::from_millis(millis - millis / 4 + spread)).await;
    }

    fn exchange(&self, want: Want) -> Result<Exchange, Failure> {
        let avoided = lock(&self.avoided).clone();
        let others: Vec<Host> = self.hosts.iter().filter(|host| !avoided.contains(&host.base)).cloned().collect();
        // When all have failed us, they may as well be asked again.
        let hosts = if others.is_empty() { &self.hosts } else { &others };
        Exchange::new(want, &self.registry, &self.repository, hosts, &self.keyring)
    }

    /// Goes on until something is there or nothing will be; the content when it is to be read.
    async fn go(&self, exchange: &mut Exchange, step: Step) -> Result<(Option<Done>, Option<Content>), Failure> {
        let outcome = self.steps(exchange, step).await;
        self.avoid(exchange.unreachable().iter().cloned());
        outcome
    }

    async fn steps(&self, exchange: &mut Exchange, mut step: Step) -> Result<(Option<Done>, Option<Content>), Failure> {
        loop {
            step = match step {
                Step::Done(done) => return Ok((Some(done), None)),
                Step::Fail(failure) => return Err(self.note(failure)),
                Step::Wait(wait) => {
                    self.wait(wait).await;
                    exchange.send(self.now(), &mut lock(&self.tokens))
                }
                Step::Send(request) => match self.connections.send(&request).await {
                    Err(unanswered) if unanswered.settled => exchange.hopeless(unanswered.why),
                    Err(unanswered) => exchange.broken(unanswered.why),
                    Ok(mut response) => {
                        let (now, status) = (self.now(), response.status);
                        let todo = exchange.response(now, status, &response.headers, &mut lock(&self.tokens));
                        match todo {
                            Body::Drop(step) => {
                                response.body.finish().await;
                                step
                            }
                            Body::Stream => return Ok((None, Some(response.body))),
                            Body::Explain { limit } => {
                                let said = response.body.collect(limit).await.unwrap_or_else(|(said, _)| said);
                                exchange.collected(self.now(), said, &mut lock(&self.tokens))
                            }
                            Body::Collect { limit } => match response.body.collect(limit).await {
                                Ok(bytes) => exchange.collected(self.now(), bytes, &mut lock(&self.tokens)),
                                Err((_, why)) => exchange.broken(why),
                            },
                        }
                    }
                },
            };
        }
    }

    fn note(&self, failure: Failure) -> Failure {
        if let Failure::Content { host, reason } = &failure {
            tracing::warn!(registry = self.registry, host = %host, reason, "A registry sent wrong content");
            self.avoid([host.clone()]);
        }
        failure
    }

    fn avoid(&self, hosts: impl IntoIterator<Item = Url>) {
        let mut avoided = lock(&self.avoided);
        for host in hosts {
            if !avoided.contains(&host) {
                avoided.push(host);
            }
        }
    }

    /// Something small.
    async fn bring(&self, want: Want) -> Result<Done, Failure> {
        let mut exchange = self.exchange(want)?;
        let first = exchange.send(self.now(), &mut lock(&self.tokens));
        match self.go(&mut exchange, first).await? {
            (Some(done), _) => {
                if let Some(auth) = exchange.shown() {
                    *lock(&self.shown) = Some(auth.clone());
                }
                Ok(done)
            }
            (None, _) => Err(Failure::Refused("the registry sent a blob instead of a manifest".into())),
        }
    }

    async fn manifest(&self, reference: &str) -> Result<(Document, Read), Failure> {
        match self.bring(Want::Manifest { reference: reference.to_string() }).await? {
            Done::Manifest { content_type, digest, bytes } => {
                let (media_type, read) = documents::read(&content_type, &bytes).map_err(Failure::Refused)?;
                let descriptor = Descriptor { media_type, digest, size: bytes.len() as u64 };
                Ok((Document { descriptor, bytes }, read))
            }
            _ => Err(Failure::Refused("the registry sent something else than a manifest".into())),
        }
    }

    fn layer(
        self: &Arc<Self>,
        image: &str,
        blob: &Descriptor,
        offset: u64,
        progress: Progress,
    ) -> Result<Layer, Failure> {
        let want = Want::Blob { digest: blob.digest.clone(), size: blob.size, offset };
        let mut exchange = self.exchange(want)?;
        let step = exchange.send(self.now(), &mut lock(&self.tokens));
        let session = self.clone();
        Ok(Layer { session, exchange, step: Some(step), content: None, progress, name: image.to_string() })
    }

    /// A blob that is metadata.
    async fn metadata(self: &Arc<Self>, image: &str, blob: &Descriptor) -> Result<Bytes, RuntimeError> {
        if blob.size > limits::CONFIG_BYTES {
            return Err(refused(image, format!("its configuration has {} bytes; too many", blob.size)));
        }
        let mut last = Ok(Bytes::new());
        // Once more, if what came was wrong: another host may have the right one.
        for _ in 0..2 {
            let mut layer = self.layer(image, blob, 0, Progress::default()).map_err(|failure| told(image, failure))?;
            let mut all = BytesMut::new();
            last = loop {
                match layer.next().await {
                    Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                    Ok(None) => return Ok(all.freeze()),
                    Err(RuntimeError::BadImage { reason, .. }) => break Err(refused(image, reason)),
                    Err(err) => break Err(err),
                }
            };
            if lock(&self.avoided).is_empty() {
                break;
            }
        }
        last
    }
}

#[async_trait]
impl Registries for RegistryClient {
    async fn find(&self, wanted: &WantedImage) -> Result<Answer, RuntimeError> {
        let session = self.session(wanted).await?;
        let found = session.find(wanted).await?;
        let shown = lock(&session.shown).clone();
        Ok(Answer { found, shown })
    }
}

impl Session {
    /// Asks what stands under the name.
    async fn find(self: &Arc<Self>, wanted: &WantedImage) -> Result<Found, RuntimeError> {
        let (name, session) = (&wanted.name, self.clone());
        let failed = |failure| told(name, failure);
        let reference = match name.split_once('@') {
            Some((_, digest)) => digest.to_string(),
            None => name.rsplit(':').next().unwrap_or("latest").to_string(),
        };
        let same = |digest: &str| wanted.here.as_deref() == Some(digest);
        if wanted.here.is_some() && !name.contains('@') {
            match session.bring(Want::Digest { tag: reference.clone() }).await {
                Ok(Done::Digest(Some(digest))) if same(&digest) => return Ok(Found::Same),
                Err(failure @ Failure::Unreachable(_)) => return Err(failed(failure)),
                // Not every registry answers this; what is wrong shows when the manifest is asked for.
                _ => {}
            }
        }
        let (target, mut read) = session.manifest(&reference).await.map_err(failed)?;
        let mut manifest = target.clone();
        let mut depth = 0;
        let (config, layers) = loop {
            if same(&manifest.descriptor.digest) {
                return Ok(Found::Same);
            }
            match read {
                Read::Manifest { config, layers } => break (config, layers),
                Read::Index(_) if depth == limits::DEPTH => {
                    return Err(refused(name, "its indexes are nested too deeply"));
                }
                Read::Index(entries) => {
                    let chosen = documents::choose(&entries, wanted.wasm_first).cloned();
                    let none = "no match for platform in manifest: it has none for this machine's architecture";
                    let chosen = chosen.ok_or_else(|| refused(name, none))?;
                    depth += 1;
                    (manifest, read) = session.manifest(&chosen.digest).await.map_err(failed)?;
                }
            }
        };
        let bytes = session.metadata(name, &config).await?;
        // What is packed as an image by other means than images are has no configuration to speak of.
        let parsed = serde_json::from_slice(&bytes).unwrap_or_default();
        let is_wasm = Archive::is_wasm(&config.media_type, &parsed, &layers);
        let config = Document { descriptor: config, bytes };
        let progress = Progress::of(layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add));
        let image = RemoteManifest { name: name.clone(), target, manifest, config, layers, is_wasm };
        Ok(Found::Image(Arc::new(Offered { session, image, progress })))
    }
}

#[async_trait]
impl RemoteImage for Offered {
    fn manifest(&self) -> &RemoteManifest {
        &self.image
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    async fn open(&self, layer: &Descriptor, offset: u64) -> Result<Box<dyn BlobStream>, RuntimeError> {
        let name = &self.image.name;
        let opened = self.session.layer(name, layer, offset, self.progress.clone());
        Ok(Box::new(opened.map_err(|failure| told(name, failure))?))
    }
}

#[async_trait]
impl BlobStream for Layer {
    async fn next(&mut self) -> Result<Option<Bytes>, RuntimeError> {
        loop {
            if let Some(step) = self.step.take() {
                let session = self.session.clone();
                match session.go(&mut self.exchange, step).await.map_err(|failure| came(&self.name, failure))? {
                    (_, Some(content)) => self.content = Some(content),
                    _ => return Ok(None),
                }
            }
            let Some(content) = &mut self.content else { return Ok(None) };
            let step = match content.next().await {
                Ok(Some(bytes)) => match self.exchange.piece(bytes) {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => {
                        self.progress.add(bytes.len() as u64);
                        return Ok(Some(bytes));
                    }
                    Err(step) => step,
                },
                Ok(None) => self.exchange.ended(),
                Err(why) => self.exchange.broken(why),
            };
            (self.content, self.step) = (None, Some(step));
        }
    }
}
