//! edge.holdfast.io: our own kinds.

use crate::Kind;
use crate::show::{AGE, NAME, age, column, name, or, selector, text, wide};
use holdfast_core::json::at;

/// edge.holdfast.io/v1alpha1 OfflinePolicy. What it does stands in [`crate::fencing`].
pub(crate) const OFFLINE_POLICY: Kind = Kind {
    group: "edge.holdfast.io",
    version: "v1alpha1",
    kind: "OfflinePolicy",
    plural: "offlinepolicies",
    singular: "offlinepolicy",
    schema: "io.holdfast.edge.v1alpha1.OfflinePolicy",
    columns: &[
        NAME,
        column("Mode", "string", "What becomes of the pods while the hub does not hear their node."),
        column("After", "string", "How long they may run without a word of the hub."),
        AGE,
        wide("Pods", "string", "Whom it is for."),
    ],
    row: |doc, now| {
        vec![
            name(doc),
            text(doc, &["spec", "mode"]).into(),
            or(text(doc, &["spec", "failOverAfter"]), "<none>").into(),
            age(doc, now),
            // As NetworkPolicies show the selector that selects all.
            or(&selector(at(doc, &["spec", "podSelector"])), "<none>").into(),
        ]
    },
    ..Kind::BASE
};
