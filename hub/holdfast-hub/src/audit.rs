//! The audit log as a file: its policy, and its rotation.

use anyhow::{Context, bail};
use clap::Args;
use holdfast_core::Timestamp;
use holdfast_env::World;
use holdfast_server::audit::Policy;
use holdfast_server::{AuditLog, Auditor};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What the command line says of the audit log: upstream's flags.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AuditArguments {
    /// The audit policy (audit.k8s.io/v1, YAML): which requests are noted. Without it there is no audit log.
    #[arg(long, env = "HOLDFAST_AUDIT_POLICY_FILE", value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// Where they are noted, a JSON line each; '-' means standard output.
    #[arg(long, env = "HOLDFAST_AUDIT_LOG_PATH", value_name = "FILE")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// Megabytes after which the log is put aside and a new one begun [default: 100].
    #[arg(long, env = "HOLDFAST_AUDIT_LOG_MAXSIZE", value_name = "MEGABYTES")]
    pub(crate) audit_log_maxsize: Option<u64>,
    /// Logs put aside that are kept; 0 means all [default: 0].
    #[arg(long, env = "HOLDFAST_AUDIT_LOG_MAXBACKUP", value_name = "COUNT")]
    pub(crate) audit_log_maxbackup: Option<usize>,
    /// Days that logs put aside are kept; 0 means for ever [default: 0].
    #[arg(long, env = "HOLDFAST_AUDIT_LOG_MAXAGE", value_name = "DAYS")]
    pub(crate) audit_log_maxage: Option<u64>,
}

/// Upstream's default, in megabytes.
const DEFAULT_MAXSIZE: u64 = 100;

/// A checked configuration of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditConfig {
    policy: Policy,
    path: PathBuf,
    rotation: Rotation,
}

/// When a log is put aside, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rotation {
    bytes: u64,
    /// 0: all.
    backups: usize,
    /// Zero: for ever.
    age: Duration,
}

impl AuditArguments {
    /// These, or where one is not there, those of the file.
    pub(crate) fn or(self, file: AuditArguments) -> AuditArguments {
        AuditArguments {
            audit_policy_file: self.audit_policy_file.or(file.audit_policy_file),
            audit_log_path: self.audit_log_path.or(file.audit_log_path),
            audit_log_maxsize: self.audit_log_maxsize.or(file.audit_log_maxsize),
            audit_log_maxbackup: self.audit_log_maxbackup.or(file.audit_log_maxbackup),
            audit_log_maxage: self.audit_log_maxage.or(file.audit_log_maxage),
        }
    }

    /// Reads the policy. `None` when there is to be no log.
    pub(crate) fn resolve(self) -> anyhow::Result<Option<AuditConfig>> {
        let (policy, path) = match (self.audit_policy_file, self.audit_log_path) {
            (None, None) => return Ok(None),
            (Some(policy), Some(path)) => (policy, path),
            (Some(_), None) => bail!("--audit-policy-file needs --audit-log-path: where to note what it says"),
            (None, Some(_)) => bail!("--audit-log-path needs --audit-policy-file: without a policy nothing is noted"),
        };
        let text = std::fs::read_to_string(&policy)
            .with_context(|| format!("read --audit-policy-file {}", policy.display()))?;
        let policy = Policy::parse(&text)
            .map_err(|err| anyhow::anyhow!("--audit-policy-file {} is no audit policy: {err}", policy.display()))?;
        let megabytes = self.audit_log_maxsize.unwrap_or(DEFAULT_MAXSIZE);
        if megabytes == 0 {
            bail!("--audit-log-maxsize must be at least 1");
        }
        Ok(Some(AuditConfig {
            policy,
            path,
            rotation: Rotation {
                bytes: megabytes.saturating_mul(1 << 20),
                backups: self.audit_log_maxbackup.unwrap_or(0),
                age: Duration::from_secs(self.audit_log_maxage.unwrap_or(0).saturating_mul(24 * 3600)),
            },
        }))
    }
}

/// Opens the log and puts the auditor together.
///
/// # Errors
/// When the file cannot be opened for writing.
pub(crate) fn auditor(config: &AuditConfig, world: &World) -> anyhow::Result<Arc<Auditor>> {
    let log: Box<dyn AuditLog> = if config.path == Path::new("-") {
        Box::new(Output)
    } else {
        let file = LogFile::open(config.path.clone(), config.rotation, world.clone());
        Box::new(file.with_context(|| format!("open --audit-log-path {}", config.path.display()))?)
    };
    Ok(Auditor::new(config.policy.clone(), log, world.clone()))
}

struct Output;

impl AuditLog for Output {
    fn write(&self, line: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(line)
    }
}

struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    world: World,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        use std::os::unix::fs::OpenOptionsExt;
        // It holds what the policy lets in, Secrets too.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Open { file, bytes })
    }
}

impl LogFile {
    fn open(path: PathBuf, rotation: Rotation, world: World) -> io::Result<LogFile> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let open = Mutex::new(Open::at(&path)?);
        Ok(LogFile { path, rotation, world, open })
    }

    /// Stem and extension of the log's name: those put aside stand between with their time.
    fn name(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map(|_| format!(".{}", part(self.path.extension())));
        (format!("{}-", part(self.path.file_stem())), extension.unwrap_or_default())
    }

    /// Puts the log aside under a name with the time, and removes those that are too many or too old.
    fn rotate(&self) -> io::Result<Open> {
        let (stem, extension) = self.name();
        let now = Timestamp::from_wall(self.world.wall().0).to_micro_string().replace(':', "-");
        let mut aside = self.path.with_file_name(format!("{stem}{now}{extension}"));
        for number in 1.. {
            // The clock may have been set back.
            if !aside.exists() {
                break;
            }
            aside = self.path.with_file_name(format!("{stem}{now}.{number}{extension}"));
        }
        std::fs::rename(&self.path, aside)?;
        if let Err(err) = self.prune(&stem, &extension) {
            tracing::warn!(%err, "Old audit logs could not be removed");
        }
        Open::at(&self.path)
    }

    fn prune(&self, stem: &str, extension: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut aside = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
            // Another log may have a name that begins as this one's.
            if time.is_some_and(|time| time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T')) {
                aside.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        aside.sort();
        let now = SystemTime::UNIX_EPOCH + self.world.wall().0;
        let excess = if self.rotation.backups == 0 { 0 } else { aside.len().saturating_sub(self.rotation.backups) };
        for (number, (modified, path)) in aside.iter().enumerate() {
            let age = now.duration_since(*modified).unwrap_or_default();
            if number < excess || (!self.rotation.age.is_zero() && age > self.rotation.age) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl AuditLog for LogFile {
    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = line.len() as u64;
        if open.bytes > 0 && open.bytes + bytes > self.rotation.bytes {
            *open = self.rotate()?;
        }
        open.file.write_all(line)?;
        open.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    fn logs(folder: &Path) -> Vec<(String, u64)> {
        let mut logs: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
            .collect();
        logs.sort();
        logs
    }

    #[test]
    fn a_full_log_is_put_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("audit-of-another.log"), "not ours").unwrap();
        let world: World = HostEnv::new(folder.path());
        let rotation = Rotation { bytes: 100, backups: 2, age: Duration::ZERO };
        let path = folder.path().join("audit.log");
        let open = || LogFile::open(path.clone(), rotation, world.clone()).unwrap();
        let log = open();
        for _ in 0..5 {
            log.write(&[b'a'; 60]).unwrap();
        }
        let found = logs(folder.path());
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().filter(|(name, _)| !name.contains("another")).all(|(_, bytes)| *bytes == 60), "{found:?}");
        // It goes on where it was.
        drop(log);
        open().write(&[b'b'; 40]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 100);
        open().write(&[b'c'; 200]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 200, "a line that is too long is written whole");
    }

    #[test]
    fn a_log_and_a_policy_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Much}]\n").unwrap();
        let asked = |policy: Option<&Path>, log: Option<&str>| AuditArguments {
            audit_policy_file: policy.map(Path::to_path_buf),
            audit_log_path: log.map(PathBuf::from),
            ..AuditArguments::default()
        };
        assert_eq!(asked(None, None).resolve().unwrap(), None);
        let refused = |arguments: AuditArguments| format!("{:#}", arguments.resolve().unwrap_err());
        assert!(refused(asked(Some(&file), None)).contains("needs --audit-log-path"));
        assert!(refused(asked(None, Some("-"))).contains("needs --audit-policy-file"));
        let wrong = refused(asked(Some(&file), Some("-")));
        assert!(wrong.contains("policy.yaml is no audit policy") && wrong.contains("Much"), "{wrong}");
        assert!(refused(asked(Some(&folder.path().join("none")), Some("-"))).contains("none"));
    }
}
