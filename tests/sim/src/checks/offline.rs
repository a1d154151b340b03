//! Invariant 4 and agreement: at the end every node runs what its journal says, linked or not, and hub and linked
//! nodes say the same.

use super::{Check, End, is_deleting, is_terminal, runs_for_ever, text, uids};
use crate::ledger::{Report, Seen};

/// Looks at the end alone.
pub struct OfflineLife;

impl Check for OfflineLife {
    fn name(&self) -> &'static str {
        "offline-life"
    }

    fn see(&mut self, _what: &Seen<'_>, _report: &mut Report<'_>) {}

    fn settled(&mut self, end: &End, report: &mut Report<'_>) {
        for node in &end.machines {
            let name = &node.name;
            for (uid, pod) in &node.pods {
                let pod_name = text(pod, &["metadata", "name"]);
                if !is_deleting(pod) && !is_terminal(pod) && runs_for_ever(pod) && !node.running.contains_key(uid) {
                    report.violation(format!("{name}: pod {pod_name} ({uid}) of its journal does not run"));
                }
            }
            for uid in node.running.keys().filter(|uid| !node.pods.contains_key(*uid)) {
                report.violation(format!("{name}: pod {uid} runs and is not in its journal"));
            }
            if node.cut {
                continue;
            }
            let assigned = end.pods.iter().filter(|(_, pod)| text(pod, &["spec", "nodeName"]) == name.as_str());
            let assigned = assigned.map(|(uid, pod)| (uid.clone(), pod.clone())).collect();
            if uids(&assigned) != uids(&node.pods) {
                report.violation(format!(
                    "{name}: the hub assigns {:?}, the journal holds {:?}",
                    uids(&assigned),
                    uids(&node.pods)
                ));
            }
            for (uid, pod) in &assigned {
                let Some(status) = node.statuses.get(uid) else { continue };
                let (there, here) = (text(pod, &["status", "phase"]), text(status, &["phase"]));
                if there != here {
                    report.violation(format!("{name}: pod {uid} is {here}, and the hub says {there}"));
                }
            }
            let ready =
                end.nodes.get(name).and_then(|doc| doc["status"]["conditions"].as_array()).into_iter().flatten();
            if !ready.clone().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
                report.violation(format!("{name} is linked and not Ready: {:?}", ready.collect::<Vec<_>>()));
            }
        }
    }
}
