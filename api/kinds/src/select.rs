//! Which objects a request selects.

use crate::Kind;
use crate::convert::shown_document;
use holdfast_core::{FieldSelector, LabelSelector, ListOptions, Object, Status};

/// Label and field selectors of a request, checked against the kind.
pub struct Selection {
    kind: &'static Kind,
    labels: LabelSelector,
    fields: FieldSelector,
    reads_document: bool,
}

impl Selection {
    /// Of a list or watch; `name` narrows it to one object.
    ///
    /// # Errors
    /// 400 `field label not supported: x` for fields that the kind does not offer.
    pub fn new(kind: &'static Kind, options: &ListOptions, name: Option<&str>) -> Result<Selection, Status> {
        let mut fields = options.fields.clone();
        if let Some(name) = name {
            fields.terms.push(("metadata.name".to_string(), name.to_string(), true));
        }
        let mut reads_document = false;
        for (field, ..) in &fields.terms {
            let common = field == "metadata.name" || (field == "metadata.namespace" && kind.namespaced);
            if !common && !kind.field_selectors.contains(&field.as_str()) {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            reads_document |= !common;
        }
        Ok(Selection { kind, labels: options.labels.clone(), fields, reads_document })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match.
    pub fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// The one namespace that can match.
    pub fn namespace(&self) -> Option<&str> {
        self.fields.required("metadata.namespace")
    }

    /// Whether it selects `object`, in whatever version of a built-in kind; of a custom kind, in the version of the kind.
    pub fn matches(&self, object: &Object) -> bool {
        if !self.labels.matches(&object.meta.labels) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        let doc = self.reads_document.then(|| shown_document(self.kind, object));
        self.fields.matches(|field| match field {
            "metadata.name" => object.meta.name.clone(),
            "metadata.namespace" => object.meta.namespace.clone(),
            other => doc.as_ref().map(|doc| self.kind.value_of(doc, other)).unwrap_or_default(),
        })
    }
}
