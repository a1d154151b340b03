//! How long admission takes and how often it refuses, in upstream's names: as a whole (`step`), by plug-in (`controller`), and by
//! webhook.

use super::dynamic::Operation;
use holdfast_core::Status;
use holdfast_env::{Mono, World};
use holdfast_server::docs::series::{Histogram, Times};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upstream's upper bounds, in seconds.
const BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Series of webhooks. Their names are chosen by who may configure them; beyond this further ones are not told.
const WEBHOOK_SERIES: usize = 1024;

/// The two halves of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Admit,
    Validate,
}

impl Half {
    fn as_str(self) -> &'static str {
        match self {
            Half::Admit => "admit",
            Half::Validate => "validate",
        }
    }
}

const HALVES: [Half; 2] = [Half::Admit, Half::Validate];
const OPERATIONS: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

/// The built-in plug-ins that can refuse or wait, by upstream's names where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    PodSecurity,
    Priority,
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    OfflinePolicy,
}

const PLUGINS: [Plugin; 15] = [
    Plugin::NamespaceLifecycle,
    Plugin::LimitRanger,
    Plugin::ServiceAccount,
    Plugin::NodeRestriction,
    Plugin::PodSecurity,
    Plugin::Priority,
    Plugin::DefaultStorageClass,
    Plugin::PersistentVolumeClaimResize,
    Plugin::RuntimeClass,
    Plugin::CertificateApproval,
    Plugin::CertificateSigning,
    Plugin::CertificateSubjectRestriction,
    Plugin::DefaultIngressClass,
    Plugin::PodTopologyLabels,
    Plugin::OfflinePolicy,
];

fn number(half: Half, operation: Operation, rejected: bool) -> usize {
    (half as usize * OPERATIONS.len() + operation as usize) * 2 + usize::from(rejected)
}

/// The labels of all numbers, in their order.
fn labels() -> Vec<String> {
    let mut all = Vec::new();
    for half in HALVES {
        for operation in OPERATIONS {
            for rejected in [false, true] {
                let (half, operation) = (half.as_str(), operation.as_str());
                all.push(format!("operation=\"{operation}\",rejected=\"{rejected}\",type=\"{half}\""));
            }
        }
    }
    all
}

/// How a webhook was done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The code of its answer, or of the failure to get one; 0 without either.
    pub(crate) code: u16,
    /// What kind of failure it was, if the request failed for it.
    pub(crate) rejected: Option<&'static str>,
    /// Whether the request went on without it.
    pub(crate) failed_open: bool,
}

#[derive(Default)]
struct Webhooks {
    took: BTreeMap<String, Histogram>,
    counts: BTreeMap<(&'static str, String), u64>,
}

/// What was counted.
pub(crate) struct Timing {
    steps: Times,
    plugins: Times,
    webhooks: Mutex<Webhooks>,
}

impl Timing {
    pub(crate) fn new() -> Timing {
        let plugins = PLUGINS
            .iter()
            .flat_map(|plugin| labels().into_iter().map(move |labels| format!("name=\"{plugin:?}\",{labels}")));
        Timing {
            steps: Times::new("apiserver_admission_step_admission_duration_seconds", BOUNDS, labels()),
            plugins: Times::new("apiserver_admission_controller_admission_duration_seconds", BOUNDS, plugins),
            webhooks: Mutex::default(),
        }
    }

    /// Begins a half of the admission of a request; it counts as refused unless [`Step::passed`] is called.
    pub(crate) fn step<'a>(&'a self, world: &'a World, half: Half, operation: Operation) -> Step<'a> {
        Step { timing: self, world, half, operation, began: world.monotonic(), rejected: true }
    }

    /// Runs a plug-in.
    ///
    /// # Errors
    /// The plug-in's.
    pub(crate) async fn plugin<T>(
        &self,
        world: &World,
        (plugin, half, operation): (Plugin, Half, Operation),
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let began = world.monotonic();
        let result = work.await;
        let number = plugin as usize * labels_count() + number(half, operation, result.is_err());
        self.plugins.observe(number, world.monotonic().since(began));
        result
    }

    /// Counts a call of a webhook.
    pub(crate) fn webhook(&self, name: &str, mutating: bool, operation: Operation, answered: Answered, took: Duration) {
        // Codes beyond 600 are one, as upstream has it.
        let code = answered.code.min(600);
        let half = if mutating { "admit" } else { "validating" };
        let (operation, rejected) = (operation.as_str(), answered.rejected.is_some());
        let of = format!("name=\"{name}\",operation=\"{operation}\"");
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = format!("{of},rejected=\"{rejected}\",type=\"{half}\"");
        if webhooks.took.contains_key(&labels) || webhooks.took.len() < WEBHOOK_SERIES {
            webhooks.took.entry(labels).or_insert_with(|| Histogram::new(WEBHOOK_BOUNDS)).observe(took);
        }
        webhooks.add(
            "apiserver_admission_webhook_request_total",
            format!("code=\"{code}\",{of},rejected=\"{rejected}\",type=\"{half}\""),
        );
        if let Some(kind) = answered.rejected {
            let labels = format!("error_type=\"{kind}\",{of},rejection_code=\"{code}\",type=\"{half}\"");
            webhooks.add("apiserver_admission_webhook_rejection_count", labels);
        }
        if answered.failed_open {
            let labels = format!("name=\"{name}\",type=\"{half}\"");
            webhooks.add("apiserver_admission_webhook_fail_open_count", labels);
        }
    }

    /// Appends all lines.
    pub(crate) fn write(&self, out: &mut String) {
        self.steps.write(out);
        self.plugins.write(out);
        let webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        let _ = writeln!(out, "# TYPE {name} histogram");
        for (labels, took) in &webhooks.took {
            took.write(name, labels, out);
        }
        let mut last = "";
        for ((name, labels), count) in &webhooks.counts {
            if *name != last {
                let _ = writeln!(out, "# TYPE {name} counter");
                last = name;
            }
            let _ = writeln!(out, "{name}{{{labels}}} {count}");
        }
    }
}

fn labels_count() -> usize {
    HALVES.len() * OPERATIONS.len() * 2
}

impl Webhooks {
    fn add(&mut self, name: &'static str, labels: String) {
        let room = self.counts.len() < WEBHOOK_SERIES;
        let key = (name, labels);
        match self.counts.get_mut(&key) {
            Some(count) => *count += 1,
            None if room => drop(self.counts.insert(key, 1)),
            None => {}
        }
    }
}

/// A half of admission under way.
pub(crate) struct Step<'a> {
    timing: &'a Timing,
    world: &'a World,
    half: Half,
    operation: Operation,
    began: Mono,
    rejected: bool,
}

impl Step<'_> {
    /// It refused nothing.
    pub(crate) fn passed(mut self) {
        self.rejected = false;
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let took = self.world.monotonic().since(self.began);
        self.timing.steps.observe(number(self.half, self.operation, self.rejected), took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_their_labels() {
        let labels = labels();
        assert_eq!(labels.len(), labels_count());
        for (at, half) in HALVES.iter().enumerate() {
            assert_eq!(*half as usize, at);
        }
        for (at, operation) in OPERATIONS.iter().enumerate() {
            assert_eq!(*operation as usize, at);
        }
        for (at, plugin) in PLUGINS.iter().enumerate() {
            assert_eq!(*plugin as usize, at);
        }
        let of = |half, operation, rejected| labels[number(half, operation, rejected)].as_str();
        assert_eq!(of(Half::Admit, Operation::Create, false), "operation=\"CREATE\",rejected=\"false\",type=\"admit\"");
        assert_eq!(
            of(Half::Validate, Operation::Connect, true),
            "operation=\"CONNECT\",rejected=\"true\",type=\"validate\""
        );
    }

    #[test]
    fn webhooks_are_told_up_to_a_bound() {
        let timing = Timing::new();
        let fine = Answered { code: 200, rejected: None, failed_open: false };
        for number in 0..2 * WEBHOOK_SERIES {
            timing.webhook(&format!("w{number}.x.io"), true, Operation::Create, fine, Duration::ZERO);
        }
        let refused = Answered { code: 999, rejected: Some("no_error"), failed_open: false };
        timing.webhook("w0.x.io", true, Operation::Create, refused, Duration::ZERO);
        timing.webhook("w0.x.io", true, Operation::Create, fine, Duration::ZERO);
        let mut out = String::new();
        timing.write(&mut out);
        let counted = "apiserver_admission_webhook_request_total{code=\"200\",name=\"w0.x.io\",operation=\"CREATE\",\
                       rejected=\"false\",type=\"admit\"} 2\n";
        assert!(out.contains(counted), "{out}");
        assert_eq!(out.matches("apiserver_admission_webhook_request_total{").count(), WEBHOOK_SERIES);
        assert!(!out.contains("w2000.x.io"));
    }
}
