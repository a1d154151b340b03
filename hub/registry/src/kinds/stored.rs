//! Kinds that are stored only: what of them is the server's to set is right, what they contain nobody judges yet.

use crate::strategy::Strategy;
use holdfast_core::json::set;
use holdfast_core::{Json, names};
use holdfast_kinds::Kind;

/// The rules of a kind that is stored only.
pub(crate) struct Stored {
    /// The status of a new object as JSON, as Go serves the empty struct; empty for kinds without one.
    status: &'static str,
    /// Whether `metadata.generation` counts changes of the desired state.
    counts: bool,
    /// Whether an update needs no `resourceVersion`.
    unconditional: bool,
    /// What is wrong with a name.
    name: fn(&str) -> Vec<String>,
}

const BASE: Stored = Stored { status: "", counts: false, unconditional: true, name: names::dns_subdomain };

static PLAIN: Stored = BASE;
static COUNTED: Stored = Stored { counts: true, ..BASE };
static WITH_STATUS: Stored = Stored { status: "{}", ..BASE };
static API_SERVICE: Stored = Stored { status: "{}", unconditional: false, name: names::path_segment, ..BASE };

/// The rules of a kind that has no file of its own.
pub(crate) fn of(kind: &Kind) -> &'static Stored {
    match (kind.group, kind.kind) {
        ("apiregistration.k8s.io", "APIService") => &API_SERVICE,
        ("resource.k8s.io", "DeviceClass" | "ResourceSlice") => &COUNTED,
        ("resource.k8s.io", "ResourceClaim") => &WITH_STATUS,
        _ => &PLAIN,
    }
}

impl Strategy for Stored {
    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn has_status(&self) -> bool {
        !self.status.is_empty()
    }

    fn counts_generation(&self) -> bool {
        self.counts
    }

    fn unconditional_update(&self) -> bool {
        self.unconditional
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        (self.name)(name)
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        if let Ok(status) = serde_json::from_str::<Json>(self.status) {
            set(doc, &["status"], status);
        }
    }
}
