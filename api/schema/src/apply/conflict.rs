//! Fields that an apply would take from their managers.

use super::element::path_text;
use super::managers::Entry;
use super::set::FieldSet;
use holdfast_core::Status;
use holdfast_core::status::StatusCause;

/// A field that is another manager's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The manager, as [`Conflict::status`] names it.
    pub manager: String,
    /// The field, as `.spec.replicas`.
    pub path: String,
}

impl Conflict {
    pub(super) fn all<'c>(entry: &'c Entry<'_>, fields: &'c FieldSet<'_>) -> impl Iterator<Item = Conflict> + 'c {
        let manager = entry.shown();
        fields.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path: path_text(&path) })
    }

    /// 409 with a cause for each conflict. `conflicts` are grouped by manager.
    pub fn status(conflicts: &[Conflict]) -> Status {
        let causes = conflicts.iter().map(|conflict| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager),
            field: conflict.path.clone(),
        });
        let text = match conflicts {
            [Conflict { manager, path }] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
            all => {
                let mut lines: Vec<String> = Vec::new();
                let mut named = None;
                for Conflict { manager, path } in all {
                    if named != Some(manager) {
                        lines.push(format!("conflicts with {manager}:"));
                        named = Some(manager);
                    }
                    lines.push(format!("- {path}"));
                }
                format!("Apply failed with {} conflicts: {}", all.len(), lines.join("\n"))
            }
        };
        Status::apply_conflict(text, causes.collect())
    }
}
