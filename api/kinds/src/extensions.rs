//! apiextensions.k8s.io and apiregistration.k8s.io: kinds and groups beyond the built-in ones.

use crate::show::{AGE, NAME, age, column, name, text};
use crate::{Kind, Subresource, Support};
use holdfast_core::Json;
use holdfast_core::json::{at, items_at, str_at};

const EXTENSIONS: &str = "apiextensions.k8s.io";
const REGISTRATION: &str = "apiregistration.k8s.io";

/// apiextensions.k8s.io/v1 CustomResourceDefinition.
pub(crate) const CUSTOM_RESOURCE_DEFINITION: Kind = Kind {
    group: EXTENSIONS,
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[Subresource::status(EXTENSIONS, "CustomResourceDefinition")],
    schema: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ..Kind::BASE
};

/// apiregistration.k8s.io/v1 APIService.
pub(crate) const API_SERVICE: Kind = Kind {
    group: REGISTRATION,
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    subresources: &[Subresource::status(REGISTRATION, "APIService")],
    schema: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    columns: &[
        NAME,
        column("Service", "string", "The Service that serves the group and version."),
        column("Available", "string", "Whether it can be reached."),
        AGE,
    ],
    row: |doc, now| {
        let service = at(doc, &["spec", "service"])
            .map_or_else(|| "Local".to_string(), |of| format!("{}/{}", text(of, &["namespace"]), text(of, &["name"])));
        vec![name(doc), service.into(), available(doc).into(), age(doc, now)]
    },
    support: Support::StoredOnly,
    ..Kind::BASE
};

fn available(doc: &Json) -> String {
    let conditions = items_at(doc, &["status", "conditions"]);
    let found = conditions.iter().find(|one| str_at(one, &["type"]) == Some("Available"));
    let Some(condition) = found else { return "Unknown".to_string() };
    match (text(condition, &["status"]), text(condition, &["reason"])) {
        (status, reason) if status != "True" && !reason.is_empty() => format!("{status} ({reason})"),
        (status, _) => status.to_string(),
    }
}
