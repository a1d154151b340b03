//! Priority: the class of a pod becomes its number.

use super::Admission;
use holdfast_core::json::{bool_at, default, i64_at, set, str_at};
use holdfast_core::{Gvr, Json, Status};

fn classes() -> Gvr {
    Gvr::new("scheduling.k8s.io", "v1", "priorityclasses")
}

/// One class at most is that of pods that name none.
pub(crate) async fn only_default(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    if bool_at(doc, &["globalDefault"]) != Some(true) {
        return Ok(());
    }
    let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
    let all = cx.engine.find_all(&classes(), "").await?;
    let is_default = |class: &Json| bool_at(class, &["globalDefault"]) == Some(true);
    let other = all.iter().find(|class| class.meta.name != name && is_default(&class.to_json()));
    match other {
        Some(other) => {
            let why =
                format!("PriorityClass {} is already marked as default. Only one default can exist", other.meta.name);
            Err(cx.forbidden(doc, why))
        }
        None => Ok(()),
    }
}

pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let classes = classes();
    let name = str_at(doc, &["spec", "priorityClassName"]).unwrap_or_default().to_string();
    let class = if name.is_empty() {
        // Of several global defaults the lowest counts, as upstream does.
        let all = cx.engine.find_all(&classes, "").await?;
        all.iter()
            .map(|class| class.to_json())
            .filter(|class| bool_at(class, &["globalDefault"]) == Some(true))
            .min_by_key(|class| i64_at(class, &["value"]).unwrap_or(0))
    } else {
        match cx.engine.find(&classes, "", &name).await? {
            Some(class) => Some(class.to_json()),
            None => {
                return Err(cx.forbidden(doc, format!("no PriorityClass with name {name} was found")));
            }
        }
    };
    let value = class.as_ref().and_then(|class| i64_at(class, &["value"])).unwrap_or(0);
    let policy = class
        .as_ref()
        .and_then(|class| str_at(class, &["preemptionPolicy"]))
        .unwrap_or("PreemptLowerPriority")
        .to_string();
    if let Some(asked) = i64_at(doc, &["spec", "priority"]).filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(cx.forbidden(doc, why));
    }
    if let Some(asked) = str_at(doc, &["spec", "preemptionPolicy"]).filter(|asked| *asked != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(cx.forbidden(doc, why));
    }
    if let Some(name) = class.as_ref().and_then(|class| str_at(class, &["metadata", "name"])) {
        set(doc, &["spec", "priorityClassName"], name);
    }
    set(doc, &["spec", "priority"], value);
    default(doc, &["spec", "preemptionPolicy"], policy);
    Ok(())
}
