//! Docker Engine's firewall: it sets the policy of the machine's FORWARD chain to DROP, which also drops what pods send.
//!
//! A packet goes through all base chains of a hook, and one that drops it has the last word: no rule of ours in another table,
//! at whatever priority, lets it pass. What passes must be accepted in Docker's own table, and the place that Docker keeps for
//! others is its chain `DOCKER-USER`: it is asked first, made when it is missing, and not emptied when dockerd starts. So our
//! rules stand in a chain of our own that is called from there. It is written by the same `iptables` that Docker calls, which
//! is the nft or the legacy one as the machine has it.
//!
//! Traffic of pods alone is accepted, and only within Docker's table: other tables are still asked. Our chain comes after what
//! an administrator has put into `DOCKER-USER`.
//!
//! Task: one, which looks whether Docker is there, and was started again. It costs a look at a file every half minute.

use holdfast_env::World;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The chain of our own.
const CHAIN: &str = "HOLDFAST-FORWARD";
/// How often Docker's socket is looked at.
const PERIOD: Duration = Duration::from_secs(30);
/// Looks after which the rules themselves are looked at, should the socket be systemd's and outlive dockerd.
const EVERY: u32 = 20;
/// Looks at the rules after the socket has changed: dockerd makes it before its rules.
const SETTLE: u32 = 2;
/// How long one call of `iptables` may take; it waits for its lock.
const LIMIT: Duration = Duration::from_secs(20);

/// What the rules of the `filter` table, as `iptables -S` prints them, lack.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Docker has no rules here.
    NoDocker {
        /// Somebody else drops what is forwarded.
        drops: bool,
    },
    /// Our rules are in place.
    Fine,
    /// This, given to `iptables-restore --noflush`, puts them in place.
    Missing(String),
}

fn look(rules: &str, cluster: &str) -> Finding {
    let has = |wanted: &str| rules.lines().any(|line| line.trim() == wanted);
    if !has("-N DOCKER-USER") {
        return Finding::NoDocker { drops: has("-P FORWARD DROP") };
    }
    let own = [format!("-A {CHAIN} -s {cluster} -j ACCEPT"), format!("-A {CHAIN} -d {cluster} -j ACCEPT")];
    let chain: Vec<&str> =
        rules.lines().filter(|line| line.starts_with(&format!("-A {CHAIN} "))).map(str::trim).collect();
    let user = rules.lines().map(str::trim).filter(|line| line.starts_with("-A DOCKER-USER "));
    let user: Vec<&str> = user.collect();
    let call = format!("-A DOCKER-USER -j {CHAIN}");
    let called = user.iter().position(|line| *line == call);
    let returns = user.iter().position(|line| *line == "-A DOCKER-USER -j RETURN");
    let reached = called.is_some_and(|at| returns.is_none_or(|returns| at < returns));
    if reached && chain == own {
        return Finding::Fine;
    }
    // Naming a chain makes it, or empties it.
    let mut script = format!("*filter\n:{CHAIN} - [0:0]\n{}\n{}\n", own[0], own[1]);
    if !reached {
        if called.is_some() {
            let _ = writeln!(script, "-D DOCKER-USER -j {CHAIN}");
        }
        let _ = match returns {
            Some(at) => writeln!(script, "-I DOCKER-USER {} -j {CHAIN}", at + 1),
            None => writeln!(script, "{call}"),
        };
    }
    script.push_str("COMMIT\n");
    Finding::Missing(script)
}

/// What takes our rules away again; `None` when there are none.
fn removal(rules: &str) -> Option<String> {
    let calls = rules.lines().map(str::trim).filter(|line| line.ends_with(&format!("-j {CHAIN}")));
    let calls: Vec<String> = calls.filter_map(|line| Some(format!("-D {}\n", line.strip_prefix("-A ")?))).collect();
    if calls.is_empty() && !rules.lines().any(|line| line.trim() == format!("-N {CHAIN}")) {
        return None;
    }
    Some(format!("*filter\n:{CHAIN} - [0:0]\n{}-X {CHAIN}\nCOMMIT\n", calls.concat()))
}

/// Lets the traffic of pods through, for as long as the task lives and beyond: pods outlive the agent.
pub(crate) async fn keep(world: World, socket: PathBuf, cluster: String) {
    let (mut seen, mut looks, mut warned) = (None, 1, false);
    let mut idle = 0;
    loop {
        let (at, found) = (socket.clone(), seen);
        let now = world.blocking(move || age(&at)).await.unwrap_or(found);
        if now != seen {
            (seen, looks) = (now, SETTLE);
        }
        idle += 1;
        // Rules of Docker outlive dockerd, so they are looked for once at the start even without it.
        if looks > 0 || (seen.is_some() && idle >= EVERY) {
            (looks, idle) = (looks.saturating_sub(1), 0);
            match ensure(&cluster).await {
                Ok(Finding::NoDocker { drops: true }) if !warned => {
                    warned = true;
                    tracing::warn!(
                        cluster,
                        "The firewall's FORWARD policy is DROP: it must accept the traffic of pods"
                    );
                }
                Ok(Finding::Missing(_)) => {
                    tracing::info!(cluster, "Docker's firewall lets the traffic of pods through")
                }
                Ok(_) => {}
                Err(err) => tracing::warn!(err, "Docker's firewall could not be told to let pods through"),
            }
        }
        world.sleep(PERIOD).await;
    }
}

/// What tells one socket from the next under the same name.
fn age(socket: &Path) -> Option<(u64, i64, i64)> {
    let found = std::fs::metadata(socket).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

/// Puts our rules in place where Docker has its own.
async fn ensure(cluster: &str) -> Result<Finding, String> {
    let Some(rules) = list().await? else { return Ok(Finding::NoDocker { drops: false }) };
    let finding = look(&rules, cluster);
    if let Finding::Missing(script) = &finding {
        restore(script).await?;
    }
    Ok(finding)
}

/// Takes our rules out of Docker's firewall; whether there were any.
///
/// # Errors
/// What `iptables` says.
pub(crate) async fn forget() -> Result<bool, String> {
    let Some(script) = list().await?.as_deref().and_then(removal) else { return Ok(false) };
    restore(&script).await.map(|()| true)
}

/// The rules of the `filter` table; `None` on a machine without `iptables`, where Docker has none either.
async fn list() -> Result<Option<String>, String> {
    let mut command = Command::new("iptables");
    command.args(["-w", "10", "-S"]);
    match run(command, "").await {
        Ok(output) => Ok(Some(output)),
        Err(Failure::Missing) => Ok(None),
        Err(Failure::Said(why)) => Err(why),
    }
}

async fn restore(script: &str) -> Result<(), String> {
    let mut command = Command::new("iptables-restore");
    command.args(["-w", "10", "--noflush"]);
    match run(command, script).await {
        Ok(_) => Ok(()),
        Err(Failure::Missing) => Err("iptables-restore is not installed".into()),
        Err(Failure::Said(why)) => Err(why),
    }
}

enum Failure {
    Missing,
    Said(String),
}

async fn run(mut command: Command, input: &str) -> Result<String, Failure> {
    let talk = async {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A script that is not read to its end is refused below.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    match tokio::time::timeout(LIMIT, talk).await {
        Err(_) => Err(Failure::Said("iptables did not finish in time".into())),
        Ok(Err(err)) if err.kind() == std::io::ErrorKind::NotFound => Err(Failure::Missing),
        Ok(Err(err)) => Err(Failure::Said(format!("iptables cannot be run: {err}"))),
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(Failure::Said(String::from_utf8_lossy(&output.stderr).trim().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &str = "10.42.0.0/16";
    const DOCKER: &str = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N DOCKER\n-N DOCKER-USER\n\
                          -A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n";
    const OURS: &str = "-A HOLDFAST-FORWARD -s 10.42.0.0/16 -j ACCEPT\n-A HOLDFAST-FORWARD -d 10.42.0.0/16 -j ACCEPT\n";

    fn missing(rules: &str) -> String {
        match look(rules, PODS) {
            Finding::Missing(script) => script,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_put_before_the_return() {
        assert_eq!(look("-P FORWARD ACCEPT\n", PODS), Finding::NoDocker { drops: false });
        assert_eq!(look("-P FORWARD DROP\n", PODS), Finding::NoDocker { drops: true });
        let whole = |call: &str| format!("*filter\n:HOLDFAST-FORWARD - [0:0]\n{OURS}{call}COMMIT\n");
        let new = missing(&format!("{DOCKER}-A DOCKER-USER -i eth0 -j DROP\n-A DOCKER-USER -j RETURN\n"));
        assert_eq!(new, whole("-I DOCKER-USER 2 -j HOLDFAST-FORWARD\n"));
        assert_eq!(missing(DOCKER), whole("-A DOCKER-USER -j HOLDFAST-FORWARD\n"));
        let in_place = format!(
            "{DOCKER}-N HOLDFAST-FORWARD\n-A DOCKER-USER -j HOLDFAST-FORWARD\n-A DOCKER-USER -j RETURN\n{OURS}"
        );
        assert_eq!(look(&in_place, PODS), Finding::Fine);
        // Another network of pods, and rules that were emptied.
        assert!(matches!(look(&in_place, "10.60.0.0/16"), Finding::Missing(_)));
        let emptied = in_place.replace(OURS, "");
        assert_eq!(missing(&emptied), whole(""));
        // Docker puts its RETURN first when the chain was emptied and dockerd started before us.
        let behind = format!("{DOCKER}-A DOCKER-USER -j RETURN\n-A DOCKER-USER -j HOLDFAST-FORWARD\n{OURS}");
        let moved = "-D DOCKER-USER -j HOLDFAST-FORWARD\n-I DOCKER-USER 1 -j HOLDFAST-FORWARD\n";
        assert_eq!(missing(&behind), whole(moved));
    }

    #[test]
    fn nothing_of_ours_stays() {
        assert_eq!(removal(DOCKER), None);
        let rules = format!("{DOCKER}-N HOLDFAST-FORWARD\n-A DOCKER-USER -j HOLDFAST-FORWARD\n{OURS}");
        let script =
            "*filter\n:HOLDFAST-FORWARD - [0:0]\n-D DOCKER-USER -j HOLDFAST-FORWARD\n-X HOLDFAST-FORWARD\nCOMMIT\n";
        assert_eq!(removal(&rules).as_deref(), Some(script));
    }
}
