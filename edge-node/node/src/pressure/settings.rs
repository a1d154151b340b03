//! When something is short: the kubelet's eviction flags.

use super::Signal;
use holdfast_core::{Quantity, Span};
use std::collections::BTreeMap;
use std::time::Duration;

/// The flags, as they were given.
#[derive(Clone, Debug, Default)]
pub struct EvictionFlags {
    /// `--eviction-hard`; absent for [`Eviction::HARD`].
    pub hard: Option<String>,
    /// `--eviction-soft`.
    pub soft: Option<String>,
    /// `--eviction-soft-grace-period`.
    pub soft_grace_period: Option<String>,
    /// `--eviction-minimum-reclaim`.
    pub minimum_reclaim: Option<String>,
    /// `--eviction-max-pod-grace-period`, in seconds.
    pub max_pod_grace_period: Option<u64>,
    /// `--eviction-pressure-transition-period`.
    pub pressure_transition_period: Option<Span>,
}

/// The least that there has to be of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Least {
    Amount(u64),
    Percent(f64),
}

impl Least {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    pub(super) fn of(self, all: u64) -> u64 {
        match self {
            Least::Amount(amount) => amount,
            Least::Percent(percent) => (all as f64 * percent / 100.0) as u64,
        }
    }
}

/// A threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub(super) signal: Signal,
    pub(super) least: Least,
    /// How long it may be met; zero for a hard one.
    pub(super) grace: Duration,
    /// What there has to be beyond it before all is well again.
    pub(super) reclaim: Least,
}

/// When something is short, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    /// In the order in which they are dealt with.
    pub(super) thresholds: Vec<Threshold>,
    /// The longest grace of a pod that goes for a soft threshold; `None` for its own.
    pub(super) max_pod_grace: Option<Duration>,
    /// How long a condition stays after what it speaks of is over.
    pub(super) transition: Duration,
}

impl Eviction {
    /// The kubelet's hard thresholds.
    pub const HARD: &'static str =
        "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%";
    /// The kubelet's transition period.
    pub const TRANSITION: Duration = Duration::from_secs(300);

    /// Reads the flags. Signals that are not named are not looked at.
    ///
    /// # Errors
    /// The flag, and what is wrong with it, for people.
    pub fn read(flags: &EvictionFlags) -> Result<Eviction, String> {
        let invalid = |flag: &str| {
            let flag = flag.to_string();
            move |why: String| format!("--{flag} is invalid: {why}")
        };
        let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
        let hard =
            pairs(flags.hard.as_deref().unwrap_or(Eviction::HARD), '<', amount).map_err(invalid("eviction-hard"))?;
        let soft = pairs(&text(&flags.soft), '<', amount).map_err(invalid("eviction-soft"))?;
        let graces = pairs(&text(&flags.soft_grace_period), '=', |text| text.parse::<Span>().map(|span| span.0))
            .map_err(invalid("eviction-soft-grace-period"))?;
        let reclaims =
            pairs(&text(&flags.minimum_reclaim), '=', amount).map_err(invalid("eviction-minimum-reclaim"))?;
        let mut thresholds = Vec::new();
        let reclaim = |signal: &Signal| reclaims.get(signal).copied().unwrap_or(Least::Amount(0));
        for (signal, least) in hard {
            thresholds.push(Threshold { signal, least, grace: Duration::ZERO, reclaim: reclaim(&signal) });
        }
        for (signal, least) in soft {
            let grace = graces.get(&signal).copied().filter(|grace| !grace.is_zero()).ok_or_else(|| {
                let name = signal.name();
                format!("--eviction-soft names {name}, which has no time in --eviction-soft-grace-period")
            })?;
            thresholds.push(Threshold { signal, least, grace, reclaim: reclaim(&signal) });
        }
        thresholds.sort_by_key(|threshold| (threshold.signal, threshold.grace));
        Ok(Eviction {
            thresholds,
            max_pod_grace: flags.max_pod_grace_period.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            transition: flags.pressure_transition_period.map_or(Eviction::TRANSITION, |span| span.0),
        })
    }

    /// What of the node's own disk is kept back from pods: they would have to go before they could use it.
    pub(crate) fn kept_of_disk(&self, capacity: u64) -> u64 {
        self.kept(Signal::Disk, capacity)
    }

    /// The same of the memory.
    pub(crate) fn kept_of_memory(&self, capacity: u64) -> u64 {
        self.kept(Signal::Memory, capacity)
    }

    fn kept(&self, signal: Signal, capacity: u64) -> u64 {
        let hard = |threshold: &&Threshold| threshold.signal == signal && threshold.grace.is_zero();
        self.thresholds.iter().find(hard).map_or(0, |threshold| threshold.least.of(capacity).min(capacity))
    }
}

impl Default for Eviction {
    fn default() -> Eviction {
        let none = Eviction { thresholds: Vec::new(), max_pod_grace: None, transition: Eviction::TRANSITION };
        Eviction::read(&EvictionFlags::default()).unwrap_or(none)
    }
}

/// Reads `SIGNAL<sign>VALUE,…`.
fn pairs<T>(text: &str, sign: char, value: impl Fn(&str) -> Result<T, String>) -> Result<BTreeMap<Signal, T>, String> {
    let mut all = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, given) =
            part.split_once(sign).ok_or_else(|| format!("{part:?} must have the form SIGNAL{sign}VALUE"))?;
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| signal.name() == name)
            .ok_or_else(|| format!("{name:?} is no signal: there are {}", Signal::ALL.map(Signal::name).join(", ")))?;
        if all.insert(signal, value(given)?).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(all)
}

fn amount(text: &str) -> Result<Least, String> {
    let least = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| (0.0..100.0).contains(percent)).map(Least::Percent),
        None => {
            let amount = text.parse::<Quantity>().ok().and_then(|amount| u64::try_from(amount.units()).ok());
            amount.map(Least::Amount)
        }
    };
    least.ok_or_else(|| format!("{text:?} is neither a quantity nor a percentage below 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: EvictionFlags) -> Result<Vec<Threshold>, String> {
        Eviction::read(&flags).map(|eviction| eviction.thresholds)
    }

    fn hard(text: &str) -> EvictionFlags {
        EvictionFlags { hard: Some(text.into()), ..EvictionFlags::default() }
    }

    #[test]
    fn thresholds_are_read_as_the_kubelet_does() {
        let plain = |signal, least| Threshold { signal, least, grace: Duration::ZERO, reclaim: Least::Amount(0) };
        let found = read(hard("pid.available<2.5%, memory.available<1Gi")).unwrap();
        let expected = [plain(Signal::Memory, Least::Amount(1 << 30)), plain(Signal::Processes, Least::Percent(2.5))];
        assert_eq!(found, expected);
        assert_eq!(read(hard("")), Ok(Vec::new()));
        assert_eq!(Eviction::default().thresholds.len(), 5);
        let soft = EvictionFlags {
            soft: Some("memory.available<2Gi,imagefs.available<20%".into()),
            soft_grace_period: Some("memory.available=1m30s,imagefs.available=2m".into()),
            minimum_reclaim: Some("imagefs.available=2Gi".into()),
            max_pod_grace_period: Some(60),
            pressure_transition_period: Some("1m".parse().unwrap()),
            ..hard("memory.available<1Gi")
        };
        let eviction = Eviction::read(&soft).unwrap();
        let grace = |grace, threshold| Threshold { grace: Duration::from_secs(grace), ..threshold };
        assert_eq!(
            eviction.thresholds,
            [
                plain(Signal::Memory, Least::Amount(1 << 30)),
                grace(90, plain(Signal::Memory, Least::Amount(2 << 30))),
                Threshold {
                    reclaim: Least::Amount(2 << 30),
                    ..grace(120, plain(Signal::ImageDisk, Least::Percent(20.0)))
                },
            ]
        );
        assert_eq!(
            (eviction.max_pod_grace, eviction.transition),
            (Some(Duration::from_secs(60)), Duration::from_secs(60))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_flag() {
        for (text, why) in [
            ("memory.available", "must have the form SIGNAL<VALUE"),
            ("memory<1Gi", "is no signal: there are memory.available, nodefs.available"),
            ("memory.available<x", "is neither a quantity nor a percentage"),
            ("memory.available<100%", "is neither a quantity nor a percentage below 100"),
            ("memory.available<-1", "is neither a quantity"),
            ("memory.available<1,memory.available<2", "memory.available is there twice"),
        ] {
            let said = read(hard(text)).unwrap_err();
            assert!(said.starts_with("--eviction-hard is invalid: ") && said.contains(why), "{text}: {said}");
        }
        let soft = |soft: &str, grace: &str| EvictionFlags {
            soft: Some(soft.into()),
            soft_grace_period: Some(grace.into()),
            ..EvictionFlags::default()
        };
        let none = "--eviction-soft names memory.available, which has no time in --eviction-soft-grace-period";
        assert_eq!(read(soft("memory.available<1Gi", "")).unwrap_err(), none);
        assert_eq!(read(soft("memory.available<1Gi", "memory.available=0s")).unwrap_err(), none);
        let said = read(soft("memory.available<1Gi", "memory.available=soon")).unwrap_err();
        assert!(said.starts_with("--eviction-soft-grace-period is invalid: \"soon\" is no duration"), "{said}");
        let reclaim = EvictionFlags { minimum_reclaim: Some("x=1".into()), ..EvictionFlags::default() };
        assert!(read(reclaim).unwrap_err().starts_with("--eviction-minimum-reclaim is invalid: \"x\" is no signal"));
    }

    #[test]
    fn pods_do_not_get_what_they_would_have_to_go_for() {
        assert_eq!(Eviction::default().kept_of_disk(1000), 100);
        assert_eq!(Eviction::read(&hard("nodefs.available<2Ki")).unwrap().kept_of_disk(1000), 1000);
        assert_eq!(Eviction::read(&hard("")).unwrap().kept_of_disk(1000), 0);
    }
}
