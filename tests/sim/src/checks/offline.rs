//! Invariant 4 and agreement: at the end every node runs what its journal says, linked or not, and hub and linked
//! nodes say the same.

use super::{Check, End, fails_over, is_deleting, is_terminal, runs_for_ever, text, uids};
use crate::ledger::{Report, Seen};
use std::collections::BTreeMap;

/// Looks at the end.
#[derive(Default)]
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
                let status = node.statuses.get(uid).cloned().unwrap_or_default();
                // The power may have ended what may not be started again.
                let spent = text(pod, &["spec", "restartPolicy"]) == "Never" && text(&status, &["phase"]) == "Failed";
                let fenced = node.cut && fails_over(pod);
                let ought = !is_deleting(pod) && !is_terminal(pod) && runs_for_ever(pod) && !spent && !fenced;
                if fenced && node.running.contains_key(uid) {
                    report.violation(format!("{name}: pod {pod_name} ({uid}) runs, and its lease is long over"));
                }
                if ought && !node.running.contains_key(uid) {
                    report.violation(format!("{name}: pod {pod_name} ({uid}) of its journal does not run: {status}"));
                }
            }
            for uid in node.running.keys().filter(|uid| !node.pods.contains_key(*uid)) {
                report.violation(format!("{name}: pod {uid} runs and is not in its journal"));
            }
            if node.cut {
                continue;
            }
            let assigned = end.pods.iter().filter(|(_, pod)| text(pod, &["spec", "nodeName"]) == name.as_str());
            let assigned: BTreeMap<_, _> = assigned.map(|(uid, pod)| (uid.clone(), pod.clone())).collect();
            let mut held = uids(&node.pods);
            // What a restore made the hub forget is known again, or ends, or the hub says why not.
            let is_excused = |uid: &str| node.pods.get(uid).is_some_and(is_deleting) || end.kept.contains(uid);
            held.retain(|uid| assigned.contains_key(*uid) || !is_excused(uid));
            if uids(&assigned) != held {
                report.violation(format!("{name}: the hub assigns {:?}, the journal holds {held:?}", uids(&assigned)));
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
