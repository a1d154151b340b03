//! node.k8s.io: RuntimeClass.

use crate::Kind;
use crate::show::{AGE, NAME, age, column, name, text};

/// node.k8s.io/v1 RuntimeClass.
pub(crate) const RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    schema: "io.k8s.api.node.v1.RuntimeClass",
    columns: &[NAME, column("Handler", "string", "What runs pods of this class on a node."), AGE],
    row: |doc, now| vec![name(doc), text(doc, &["handler"]).into(), age(doc, now)],
    ..Kind::BASE
};
