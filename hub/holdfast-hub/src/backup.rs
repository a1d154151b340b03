//! `backup` and `check`: the whole store at one revision, with the cluster's keys, in one file.
//!
//! The keys are in it: without the CA the nodes that have joined would not believe a restored hub. So whoever has the file
//! has the cluster; it is made readable by its owner only. A hub that runs hands its snapshot out at a socket in its data
//! folder ([`serve`]); who may open that may read the folder as well. A hub that is stopped is read from its folder.

mod contents;
mod restore;

pub(crate) use contents::Contents;
pub(crate) use restore::{finish, run as restore};

use crate::data_dir::{DataFolder, ON_ETCD};
use crate::remote::block_on;
use anyhow::{Context, bail, ensure};
use holdfast_core::Timestamp;
use holdfast_env::{Task, World};
use holdfast_store::backup::{BackupWriter, FORMAT, Header};
use holdfast_store::{CachedStore, Range, RangeRequest, Store};
use holdfast_store_fjall::FjallBackend;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The socket in the data folder.
const SOCKET: &str = "backup.sock";
/// How long the other end may take for the next bytes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Wait after the socket could not accept.
const RETRY: Duration = Duration::from_secs(1);

fn now() -> Timestamp {
    Timestamp::from_wall(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Makes a backup of the hub in `data_dir`, whether it runs or not.
pub(crate) fn run(data_dir: &Path, file: &Path) -> anyhow::Result<()> {
    let on_etcd = data_dir.join(ON_ETCD).exists();
    ensure!(on_etcd || data_dir.join("store").exists(), "there is no hub in --data-dir {}", data_dir.display());
    let partial = partial(file)?;
    let made = match DataFolder::try_open(data_dir)? {
        Some(_) if on_etcd => {
            bail!("the hub of {} keeps its objects in etcd: start it, or use etcd's own snapshots", data_dir.display())
        }
        Some(folder) => from_folder(&folder, &partial),
        None => from_running(data_dir, &partial),
    };
    let checked = made.and_then(|()| Contents::read(&partial));
    let contents = match checked {
        Ok(contents) => contents,
        Err(err) => {
            // What is there is no backup; nobody should take it for one.
            let _ = std::fs::remove_file(&partial);
            return Err(err);
        }
    };
    std::fs::rename(&partial, file).with_context(|| format!("rename {} to {}", partial.display(), file.display()))?;
    sync_folder(file)?;
    println!("{}: {}", file.display(), contents.summary());
    Ok(())
}

/// Checks a backup, or the folder of a hub that is stopped, and prints what it holds.
pub(crate) fn check(data_dir: Option<&Path>, file: Option<&Path>) -> anyhow::Result<()> {
    match (data_dir, file) {
        (_, Some(file)) => {
            let contents = Contents::read(file)?;
            println!("{}: {}", file.display(), contents.summary());
            contents.print_counts();
        }
        (Some(data_dir), None) => {
            ensure!(data_dir.join("store").exists(), "there is no hub in --data-dir {}", data_dir.display());
            let folder = DataFolder::open(data_dir)?;
            let path = folder.join("store");
            let backend = FjallBackend::open(&path)?;
            let versions = backend.verify()?;
            let contents = Contents::of_store(&backend).with_context(|| format!("check {}", path.display()))?;
            println!("{}: {}, {versions} versions in its log", data_dir.display(), contents.summary());
            contents.print_counts();
        }
        (None, None) => anyhow::bail!("what to check? Give a backup's file, or --data-dir"),
    }
    Ok(())
}

/// Where a backup is until it is whole: beside the file, so that it can be renamed.
fn partial(file: &Path) -> anyhow::Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} is no name of a file", file.display()))?;
    ensure!(!file.is_dir(), "{} is a folder; give the name of a file", file.display());
    Ok(file.with_file_name(format!(".{}.partial", name.to_string_lossy())))
}

fn create(partial: &Path) -> anyhow::Result<File> {
    let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(partial);
    let file = made.with_context(|| format!("write {}", partial.display()))?;
    // One that an earlier run left may have other rights.
    file.set_permissions(Permissions::from_mode(0o600)).with_context(|| format!("write {}", partial.display()))?;
    Ok(file)
}

fn sync_folder(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("sync {}", folder.display()))
}

fn from_folder(folder: &DataFolder, partial: &Path) -> anyhow::Result<()> {
    let path = folder.join("store");
    let store = CachedStore::open(Arc::new(FjallBackend::open(&path)?)).context("open the store")?;
    let mut range = None;
    block_on(async {
        range = Some(store.range(RangeRequest::default()).await?);
        Ok(())
    })?;
    let file = write(BufWriter::new(create(partial)?), folder.path(), &range.context("read the store")?)?;
    let file = file.into_inner().map_err(|err| err.into_error()).context("write the backup")?;
    file.sync_all().context("sync the backup")
}

fn from_running(data_dir: &Path, partial: &Path) -> anyhow::Result<()> {
    let refused = || format!("reach the hub that runs on {}; is it an older release?", data_dir.display());
    let mut stream = UnixStream::connect(socket(data_dir)?.0).with_context(refused)?;
    stream.set_read_timeout(Some(PATIENCE)).context("set up the socket")?;
    let mut file = create(partial)?;
    std::io::copy(&mut stream, &mut file).context("receive the backup from the hub")?;
    file.sync_all().context("sync the backup")
}

/// Writes a backup of a store's state and of the keys beside it.
fn write<W: Write>(out: W, data_dir: &Path, range: &Range) -> anyhow::Result<W> {
    let lineage = range.records.iter().find(|record| &*record.key == holdfast_links::lineage::KEY);
    let header = Header {
        format: FORMAT,
        revision: range.revision,
        lineage: lineage.map(|record| String::from_utf8_lossy(&record.value).into_owned()).unwrap_or_default(),
        made_at_secs: now().secs(),
        made_by: env!("CARGO_PKG_VERSION").to_string(),
    };
    let mut writer = BackupWriter::begin(out, &header).context("write the backup")?;
    for (name, bytes) in keys(data_dir)? {
        writer.file(&name, &bytes).with_context(|| format!("write {name} to the backup"))?;
    }
    let mut records = range.records.clone();
    records.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
    for record in records {
        writer.record(&record.key, &record.value, record.created, record.modified).context("write the backup")?;
    }
    writer.finish().context("write the backup")
}

/// The cluster's keys and certificates, by their names below the data folder.
fn keys(data_dir: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let folder = data_dir.join("pki");
    let read = || -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !name.ends_with(".tmp") {
                files.push((format!("pki/{name}"), std::fs::read(entry.path())?));
            }
        }
        files.sort();
        Ok(files)
    };
    read().with_context(|| format!("read the keys in {}", folder.display()))
}

/// The socket's path, by the open folder: a socket's own path may only be short.
fn socket(data_dir: &Path) -> anyhow::Result<(PathBuf, File)> {
    use std::os::fd::AsRawFd;
    let folder = File::open(data_dir).with_context(|| format!("open {}", data_dir.display()))?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())), folder))
}

/// Hands backups out at the socket, one after the other, until dropped.
pub(crate) fn serve(world: &World, folder: &DataFolder, store: Arc<dyn Store>) -> anyhow::Result<Task> {
    let data_dir = folder.path().to_path_buf();
    let (path, _held) = socket(&data_dir)?;
    // The folder is ours alone: what is there is of a hub that was killed.
    let _ = std::fs::remove_file(&path);
    let shown = || format!("listen on {}", data_dir.join(SOCKET).display());
    let listener = UnixListener::bind(&path).with_context(shown)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).with_context(shown)?;
    listener.set_nonblocking(true).with_context(shown)?;
    let listener = tokio::net::UnixListener::from_std(listener).with_context(shown)?;
    let env = world.clone();
    let work = async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(err) => {
                    tracing::warn!(%err, "Could not accept a request for a backup");
                    env.sleep(RETRY).await;
                    continue;
                }
            };
            let (store, data_dir) = (store.clone(), data_dir.clone());
            let sent = async {
                store.sync().await?;
                let range = store.range(RangeRequest::default()).await?;
                let revision = range.revision;
                let stream = stream.into_std()?;
                let send = env.blocking(move || send(stream, &data_dir, &range)).await;
                send.context("the hub is stopping")??;
                anyhow::Ok(revision)
            };
            match sent.await {
                Ok(revision) => tracing::info!(%revision, "Handed out a backup"),
                // The other end sees that it is not whole.
                Err(err) => tracing::warn!(err = format!("{err:#}"), "A backup was not handed out"),
            }
        }
    };
    Ok(world.clone().spawn("backups", Box::pin(work)))
}

fn send(stream: UnixStream, data_dir: &Path, range: &Range) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write(BufWriter::new(stream), data_dir, range)?;
    Ok(())
}

#[cfg(test)]
mod tests;
