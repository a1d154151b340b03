//! The options of a request, with upstream's checks and texts.

use super::query::Query;
use holdfast_core::verbs::{FieldValidation, Propagation, VersionMatch};
use holdfast_core::{
    DeleteOptions, FieldErrors, FieldPath, FieldSelector, Gvk, Json, LabelSelector, ListOptions, PatchType, Revision,
    Status, WriteOptions,
};

/// Longest `fieldManager`.
const FIELD_MANAGER_BYTES: usize = 128;

fn invalid(kind: &str, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let gvk = Gvk { group: "meta.k8s.io".into(), version: "v1".into(), kind: kind.into() };
    Err(Status::invalid(&gvk, "", errors))
}

/// Options of list, watch and deletecollection.
///
/// # Errors
/// 400 for what does not parse, 422 for what does not go together.
pub fn list_options(query: &Query, watch: bool) -> Result<ListOptions, Status> {
    let labels = LabelSelector::parse(query.get("labelSelector").unwrap_or_default()).map_err(Status::bad_request)?;
    let fields = FieldSelector::parse(query.get("fieldSelector").unwrap_or_default()).map_err(Status::bad_request)?;
    let limit = query.number("limit")?.unwrap_or(0).max(0);
    let timeout_seconds = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let send_initial_events = query.flag("sendInitialEvents");
    check_list(query, watch, send_initial_events.is_some())?;
    Ok(ListOptions {
        labels,
        fields,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        continue_token: query.get("continue").map(String::from),
        resource_version: resource_version(query)?,
        version_match: match query.get("resourceVersionMatch") {
            Some("Exact") => Some(VersionMatch::Exact),
            Some(_) => Some(VersionMatch::NotOlderThan),
            None => None,
        },
        allow_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
        send_initial_events,
        timeout_seconds: timeout_seconds.filter(|seconds| *seconds > 0),
    })
}

fn resource_version(query: &Query) -> Result<Option<Revision>, Status> {
    let Some(text) = query.get("resourceVersion") else { return Ok(None) };
    match text.parse() {
        Ok(revision) => Ok(Some(Revision(revision))),
        Err(_) => {
            let mut errors = FieldErrors::new();
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            errors.invalid(&FieldPath::new("resourceVersion"), text, why);
            Err(Status::bad_request(errors.0.iter().map(ToString::to_string).collect::<String>()))
        }
    }
}

fn check_list(query: &Query, watch: bool, send_initial_events: bool) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let path = FieldPath::new("resourceVersionMatch");
    let matching = query.get("resourceVersionMatch");
    if watch {
        if send_initial_events && matching != Some("NotOlderThan") {
            errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if let Some(value) = matching {
            if !send_initial_events {
                errors.forbidden(
                    &path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            if value != "NotOlderThan" {
                errors.not_supported(&path, value, &["NotOlderThan"]);
            }
            if query.get("continue").is_some() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
            }
        }
        return invalid("ListOptions", &errors);
    }
    if let Some(value) = matching {
        if query.get("resourceVersion").is_none() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.get("continue").is_some() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if value != "Exact" && value != "NotOlderThan" {
            errors.not_supported(&path, value, &["Exact", "NotOlderThan", ""]);
        }
        if value == "Exact" && query.get("resourceVersion") == Some("0") {
            errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if send_initial_events {
        errors.forbidden(&FieldPath::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    invalid("ListOptions", &errors)
}

/// Options of create, update and patch; `agent` names the field manager when the query does not.
///
/// # Errors
/// 422 for values that are none.
pub fn write_options(query: &Query, kind: &str, patch: Option<PatchType>, agent: &str) -> Result<WriteOptions, Status> {
    let mut errors = FieldErrors::new();
    let dry_run = dry_run(query, &mut errors);
    let field_validation = match query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            let path = FieldPath::new("fieldValidation");
            errors.not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]);
            FieldValidation::Warn
        }
    };
    let apply = patch == Some(PatchType::Apply);
    let manager = query.get("fieldManager").unwrap_or_default();
    let path = FieldPath::new("fieldManager");
    if manager.len() > FIELD_MANAGER_BYTES {
        errors.too_long(&path, FIELD_MANAGER_BYTES);
    }
    if manager.chars().any(char::is_control) {
        errors.invalid(&path, manager, "should only contain printable characters");
    }
    if apply && manager.is_empty() {
        errors.required(&path, "is required for apply patch");
    }
    if patch.is_some() && !apply && query.has("force") {
        errors.forbidden(&FieldPath::new("force"), "may not be specified for non-apply patch");
    }
    invalid(kind, &errors)?;
    let field_manager = if manager.is_empty() { manager_of_agent(agent) } else { manager.to_string() };
    let force = apply && query.flag("force").unwrap_or(false);
    Ok(WriteOptions { dry_run, field_manager, field_validation, force })
}

fn manager_of_agent(agent: &str) -> String {
    let name = agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if manager.len() + c.len_utf8() > FIELD_MANAGER_BYTES {
            break;
        }
        manager.push(c);
    }
    manager
}

fn dry_run(query: &Query, errors: &mut FieldErrors) -> bool {
    let values: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
    for value in values.iter().filter(|value| **value != "All") {
        errors.not_supported(&FieldPath::new("dryRun"), *value, &["All"]);
    }
    !values.is_empty()
}

/// Options of delete: the body's when there is one, else the query's.
///
/// # Errors
/// 400 for a body that is no `DeleteOptions`, 422 for values that are none.
pub fn delete_options(query: &Query, body: Option<Json>) -> Result<DeleteOptions, Status> {
    let document = match body {
        Some(document) if document.is_object() => document,
        Some(_) => return Err(Status::bad_request("the body is no DeleteOptions")),
        None => query_document(query)?,
    };
    let mut errors = FieldErrors::new();
    if let Some(policy) = document.get("propagationPolicy").filter(|value| !value.is_null()) {
        let known = ["Foreground", "Background", "Orphan"];
        let path = FieldPath::new("propagationPolicy");
        if !policy.as_str().is_some_and(|policy| known.contains(&policy)) {
            errors.not_supported(&path, policy.clone(), &["Foreground", "Background", "Orphan", ""]);
        }
        if document.get("orphanDependents").is_some_and(Json::is_boolean) {
            errors.invalid(&path, policy.clone(), "orphanDependents and deletionPropagation cannot be both set");
        }
    }
    for value in document.get("dryRun").and_then(Json::as_array).into_iter().flatten() {
        if value.as_str() != Some("All") {
            errors.not_supported(&FieldPath::new("dryRun"), value.clone(), &["All"]);
        }
    }
    invalid("DeleteOptions", &errors)?;
    let mut options: DeleteOptions = serde_json::from_value(document)
        .map_err(|err| Status::bad_request(format!("the body is no DeleteOptions: {err}")))?;
    if options.orphan_dependents == Some(true) {
        options.propagation_policy = Some(Propagation::Orphan);
    }
    Ok(options)
}

fn query_document(query: &Query) -> Result<Json, Status> {
    let mut document = serde_json::Map::new();
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        document.insert("gracePeriodSeconds".into(), seconds.into());
    }
    if let Some(policy) = query.get("propagationPolicy") {
        document.insert("propagationPolicy".into(), policy.into());
    }
    if let Some(orphan) = query.flag("orphanDependents") {
        document.insert("orphanDependents".into(), orphan.into());
    }
    let dry_run: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
    if !dry_run.is_empty() {
        document.insert("dryRun".into(), dry_run.into());
    }
    Ok(Json::Object(document))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(query: &str, watch: bool) -> Result<ListOptions, Status> {
        list_options(&Query::parse(Some(query)), watch)
    }

    #[test]
    fn options_that_do_not_go_together_are_refused_with_upstreams_text() {
        let refused = [
            ("sendInitialEvents=true", true, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            ("sendInitialEvents=true", false, "sendInitialEvents is forbidden for list"),
            ("resourceVersionMatch=NotOlderThan", true, "forbidden for watch unless sendInitialEvents is provided"),
            ("resourceVersionMatch=Exact", false, "forbidden unless resourceVersion is provided"),
            ("resourceVersionMatch=Exact&resourceVersion=0", false, "forbidden for resourceVersion \"0\""),
            ("resourceVersionMatch=x&resourceVersion=1", false, "Unsupported value: \"x\""),
        ];
        for (query, watch, text) in refused {
            let status = list(query, watch).unwrap_err();
            assert_eq!(status.code(), 422, "{query}");
            assert!(status.message().starts_with("ListOptions.meta.k8s.io \"\" is invalid: "), "{status}");
            assert!(status.message().contains(text), "{status}");
        }
        for (query, text) in [
            ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("resourceVersion=x", "strconv.ParseUint: parsing \"x\": invalid syntax"),
            ("labelSelector=a+b", "unable to parse"),
            ("fieldSelector=x", "invalid selector"),
        ] {
            let status = list(query, false).unwrap_err();
            assert_eq!(status.code(), 400, "{query}: {status}");
            assert!(status.message().contains(text) || query.starts_with("label"), "{status}");
        }
    }

    #[test]
    fn options_are_read() {
        let options = list("limit=5&continue=c&sendInitialEvents=false", true);
        assert!(options.is_err());
        let options =
            list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=9", true)
                .unwrap();
        assert_eq!(options.send_initial_events, Some(true));
        assert_eq!(options.resource_version, Some(Revision(0)));
        assert_eq!(options.timeout_seconds, Some(9));
        assert!(options.allow_bookmarks);
    }

    #[test]
    fn write_options_are_checked() {
        let write =
            |query: &str, patch| write_options(&Query::parse(Some(query)), "PatchOptions", patch, "kubectl/v1.36");
        assert_eq!(write("", None).unwrap().field_manager, "kubectl");
        assert_eq!(manager_of_agent(&"ä".repeat(100)).len(), FIELD_MANAGER_BYTES);
        assert_eq!(manager_of_agent("a\u{7}b"), "ab");
        assert!(write("fieldManager=m&force=true", Some(PatchType::Apply)).unwrap().force);
        assert!(write("dryRun=All&fieldValidation=Strict", None).unwrap().dry_run);
        for (query, patch, text) in [
            ("dryRun=x", None, "dryRun: Unsupported value: \"x\": supported values: \"All\""),
            ("fieldValidation=x", None, "fieldValidation: Unsupported value"),
            ("", Some(PatchType::Apply), "fieldManager: Required value: is required for apply patch"),
            ("force=true", Some(PatchType::Merge), "force: Forbidden: may not be specified for non-apply patch"),
        ] {
            let status = write(query, patch).unwrap_err();
            assert!(status.code() == 422 && status.message().contains(text), "{status}");
        }
    }

    #[test]
    fn delete_options_come_from_body_or_query() {
        let query = Query::parse(Some("gracePeriodSeconds=0&propagationPolicy=Foreground"));
        let options = delete_options(&query, None).unwrap();
        assert_eq!(
            (options.grace_period_seconds, options.propagation_policy),
            (Some(0), Some(Propagation::Foreground))
        );
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": true});
        assert_eq!(delete_options(&query, Some(body)).unwrap().propagation_policy, Some(Propagation::Orphan));
        let bad = delete_options(&query, Some(json!({"propagationPolicy": "Sometimes"}))).unwrap_err();
        assert!(bad.message().contains("Unsupported value: \"Sometimes\""), "{bad}");
        assert_eq!(delete_options(&query, Some(json!([]))).unwrap_err().code(), 400);
    }
}
