//! coordination.k8s.io: Lease.

use crate::Kind;
use crate::show::{AGE, NAME, age, column, name, text};

/// coordination.k8s.io/v1 Lease.
pub(crate) const LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    schema: "io.k8s.api.coordination.v1.Lease",
    columns: &[NAME, column("Holder", "string", "Who holds it."), AGE],
    row: |doc, now| vec![name(doc), text(doc, &["spec", "holderIdentity"]).into(), age(doc, now)],
    ..Kind::BASE
};
