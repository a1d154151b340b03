//! Giving scripts to `nft`.

use crate::render::TABLE;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long `nft` may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Why rules could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// `nft` could not be run.
    #[error("nft cannot be run; install nftables")]
    Missing(#[source] std::io::Error),
    /// `nft` did not finish.
    #[error("nft did not finish in time")]
    Timeout,
    /// `nft` refused the script.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// The service rules of the network namespace that it is used in.
#[derive(Debug, Default)]
pub struct Proxy {
    applied: Mutex<Option<String>>,
}

impl Proxy {
    /// Applies a script of [`crate::render`]; one that is in place already costs a look only.
    ///
    /// # Errors
    /// See [`ApplyError`]; the old rules stay.
    pub async fn apply(&self, script: &str) -> Result<(), ApplyError> {
        if self.is_applied(script) && table_exists().await {
            return Ok(());
        }
        nft(script).await?;
        if let Ok(mut applied) = self.applied.lock() {
            *applied = Some(script.to_string());
        }
        Ok(())
    }

    fn is_applied(&self, script: &str) -> bool {
        self.applied.lock().is_ok_and(|applied| applied.as_deref() == Some(script))
    }
}

async fn table_exists() -> bool {
    nft(&format!("list chain ip {TABLE} translate\n")).await.is_ok()
}

async fn nft(script: &str) -> Result<(), ApplyError> {
    let run = async {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(ApplyError::Missing)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A script that nft stops reading is refused by it below.
            let _ = stdin.write_all(script.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(ApplyError::Missing)?;
        if output.status.success() {
            return Ok(());
        }
        Err(ApplyError::Refused(String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join("; ")))
    };
    tokio::time::timeout(LIMIT, run).await.unwrap_or(Err(ApplyError::Timeout))
}
