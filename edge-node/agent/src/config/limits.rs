//! Settings of resources: what is reserved, swap, sysctls, the size of logs.

use anyhow::bail;
use holdfast_core::Quantity;
use holdfast_node::{Reserved, SwapBehaviour};
use holdfast_pods::admission::check_pattern;
use holdfast_runtime::log_files;

/// The least size of a log file: renaming more often would be all that the agent does.
const LEAST_LOG_BYTES: i64 = 4 << 10;
/// The most files of a container's log.
const MOST_LOG_FILES: usize = 1000;

/// What several flags reserve together, each `NAME=QUANTITY` separated by commas.
pub(super) fn reserved(flags: &[(&str, Option<String>)]) -> anyhow::Result<Reserved> {
    let mut all = Reserved::default();
    for (flag, text) in flags {
        let parts = text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            let amount = part.split_once('=').and_then(|(name, amount)| Some((name, amount.parse::<Quantity>().ok()?)));
            let Some((name, amount)) = amount.filter(|(_, amount)| !amount.is_negative()) else {
                bail!("{flag} is invalid: {part:?} must have the form NAME=QUANTITY");
            };
            match name {
                "cpu" => all.cpu_milli = all.cpu_milli.saturating_add(amount.milli()),
                "memory" => all.memory_bytes = all.memory_bytes.saturating_add(amount.units()),
                "ephemeral-storage" => all.disk_bytes = all.disk_bytes.saturating_add(amount.units()),
                _ => bail!("{flag} is invalid: {name:?} cannot be reserved: there are cpu, memory, ephemeral-storage"),
            }
        }
    }
    Ok(all)
}

/// `NoSwap` or `LimitedSwap`.
pub(super) fn swap(text: Option<&str>) -> anyhow::Result<SwapBehaviour> {
    match text {
        None | Some("" | "NoSwap") => Ok(SwapBehaviour::None),
        Some("LimitedSwap") => Ok(SwapBehaviour::Limited),
        Some(other) => bail!("--memory-swap-behavior {other:?} is invalid: it must be NoSwap or LimitedSwap"),
    }
}

/// Names of sysctls, and patterns.
pub(super) fn sysctls(patterns: Vec<String>) -> anyhow::Result<Vec<String>> {
    for pattern in &patterns {
        if let Err(why) = check_pattern(pattern) {
            bail!("--allowed-unsafe-sysctls is invalid: {why}");
        }
    }
    Ok(patterns)
}

/// Refuses a machine that swaps, by its `/proc/swaps`.
pub(super) fn no_swap(swaps: &str) -> anyhow::Result<()> {
    let used: Vec<&str> = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if !used.is_empty() {
        bail!(
            "this machine has swap ({}), and --fail-swap-on says not to start: turn it off, or leave that flag out",
            used.join(", ")
        );
    }
    Ok(())
}

/// Bytes of a log file, and how many there are.
pub(super) fn logs(size: Option<&str>, files: Option<usize>) -> anyhow::Result<(u64, usize)> {
    let bytes = match size {
        None => log_files::MAX_BYTES,
        Some(text) => {
            let bytes = text.parse::<Quantity>().ok().map(Quantity::units).filter(|bytes| *bytes >= LEAST_LOG_BYTES);
            match bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
                Some(bytes) => bytes,
                None => bail!("--container-log-max-size {text:?} is invalid: it must be a quantity of at least 4Ki"),
            }
        }
    };
    let files = files.unwrap_or(log_files::MAX_FILES);
    if !(2..=MOST_LOG_FILES).contains(&files) {
        bail!("--container-log-max-files {files} is invalid: it must be 2 to {MOST_LOG_FILES}");
    }
    Ok((bytes, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_reserved_is_added_up() {
        let flags = |system: &str, kube: &str| {
            reserved(&[("--system-reserved", Some(system.into())), ("--kube-reserved", Some(kube.into()))])
        };
        let all = flags("cpu=100m, memory=100Mi", "cpu=1,ephemeral-storage=1Gi").unwrap();
        assert_eq!(all, Reserved { cpu_milli: 1100, memory_bytes: 100 << 20, disk_bytes: 1 << 30 });
        assert_eq!(reserved(&[("--system-reserved", None)]).unwrap(), Reserved::default());
        assert!(why(flags("pid=7", "")).contains("--system-reserved is invalid: \"pid\" cannot be reserved"));
        assert!(why(flags("", "cpu")).contains("--kube-reserved is invalid: \"cpu\" must have the form NAME=QUANTITY"));
        assert!(why(flags("cpu=-1", "")).contains("NAME=QUANTITY"));
    }

    #[test]
    fn the_others_are_checked() {
        assert_eq!(
            (swap(None).unwrap(), swap(Some("LimitedSwap")).unwrap()),
            (SwapBehaviour::None, SwapBehaviour::Limited)
        );
        assert!(why(swap(Some("UnlimitedSwap"))).contains("NoSwap or LimitedSwap"));
        assert_eq!(sysctls(vec!["net.core.somaxconn".into()]).unwrap(), ["net.core.somaxconn"]);
        assert!(why(sysctls(vec!["vm.swappiness".into()])).contains("not known to be namespaced"));
        let header = "Filename\t\t\tType\t\tSize\n";
        assert!(no_swap(header).is_ok());
        assert!(why(no_swap(&format!("{header}/dev/zram0  partition 100\n"))).contains("(/dev/zram0)"));
        assert_eq!(logs(None, None).unwrap(), (log_files::MAX_BYTES, log_files::MAX_FILES));
        assert_eq!(logs(Some("1Mi"), Some(2)).unwrap(), (1 << 20, 2));
        assert!(why(logs(Some("1"), None)).contains("at least 4Ki"));
        assert!(why(logs(None, Some(1))).contains("2 to 1000"));
    }
}
