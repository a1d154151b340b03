//! policy: PodDisruptionBudget.

use crate::show::{AGE, NAME, age, column, int, name, scalar};
use crate::{Kind, Subresource};
use holdfast_core::json::at;

/// policy/v1 PodDisruptionBudget.
pub(crate) const POD_DISRUPTION_BUDGET: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    subresources: &[Subresource::status("policy", "PodDisruptionBudget")],
    schema: "io.k8s.api.policy.v1.PodDisruptionBudget",
    columns: &[
        NAME,
        column("Min Available", "string", "How many of its pods must stay available."),
        column("Max Unavailable", "string", "How many of its pods may be unavailable."),
        column("Allowed Disruptions", "integer", "How many pods may be evicted now."),
        AGE,
    ],
    row: |doc, now| {
        vec![
            name(doc),
            scalar(at(doc, &["spec", "minAvailable"]), "N/A").into(),
            scalar(at(doc, &["spec", "maxUnavailable"]), "N/A").into(),
            int(doc, &["status", "disruptionsAllowed"]).into(),
            age(doc, now),
        ]
    },
    ..Kind::BASE
};
