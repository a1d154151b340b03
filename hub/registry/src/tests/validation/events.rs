//! Events of both versions, as they are stored. Source: `pkg/apis/core/validation/events.go` of Kubernetes 1.36.

use super::*;

const OLD: &str = "events";
const NEW: &str = "events.k8s.io/events";

fn event(own: &str, about: &str) -> Json {
    json!({ "metadata": { "name": "e", "namespace": own }, "involvedObject": { "kind": "Pod", "namespace": about },
        "reason": "R", "message": "m", "type": "Normal" })
}

fn timed() -> Json {
    with(
        with(
            with(
                with(event("one", "one"), "eventTime", json!("2026-11-24T10:00:00.000000Z")),
                "reportingComponent",
                json!("example.com/c"),
            ),
            "reportingInstance",
            json!("c-1"),
        ),
        "action",
        json!("Do"),
    )
}

#[test]
fn events_of_the_old_sort() {
    let apart = "involvedObject.namespace: Invalid value: \"two\": does not match event.namespace";
    let nowhere = "involvedObject.namespace: Invalid value: \"\": does not match event.namespace";
    create(OLD, event("one", "one"), &[]);
    create(OLD, event("one", "two"), &[apart]);
    create(OLD, event("default", ""), &[]);
    create(OLD, event("kube-system", ""), &[nowhere]);
    // Nothing else is asked of them, and anything may change.
    create(OLD, with(event("one", "one"), "type", json!("Odd")), &[]);
    update(OLD, timed(), "reason", json!("Other"), &[]);
    update(OLD, timed(), "message", json!("other"), &[]);
}

#[test]
fn events_with_a_time() {
    create(NEW, timed(), &[]);
    create(OLD, timed(), &[]);
    create(OLD, with(timed(), "involvedObject.namespace", json!("two")), &[]);
    create(
        OLD,
        with(with(timed(), "involvedObject.namespace", json!("")), "metadata.namespace", json!("kube-system")),
        &[],
    );
    create(OLD, with(timed(), "type", json!("Odd")), &[]);
    create(
        OLD,
        with(timed(), "message", json!("m".repeat(1025))),
        &["message: Invalid value: \"\": can have at most 1024 characters"],
    );
    let bare =
        with(with(with(timed(), "action", json!("")), "reportingInstance", json!("")), "reportingComponent", json!(""));
    create(
        OLD,
        bare,
        &[
            "reportingController: Required value",
            "reportingController: Invalid value: \"\": name part must be non-empty",
            "reportingController: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "reportingInstance: Required value",
            "action: Required value",
        ],
    );
}

#[test]
fn events_of_the_new_version() {
    create(NEW, event("one", "one"), &["eventTime: Required value"]);
    create(NEW, with(timed(), "type", json!("Odd")), &["type: Invalid value: \"\": has invalid value: Odd"]);
    let old = json!({ "component": "c" });
    let mut doc = with(with(timed(), "source", old), "count", json!(1));
    for field in ["firstTimestamp", "lastTimestamp"] {
        doc = with(doc, field, json!("2026-11-24T10:00:00Z"));
    }
    create(
        NEW,
        doc,
        &[
            "firstTimestamp: Invalid value: \"\": needs to be unset",
            "lastTimestamp: Invalid value: \"\": needs to be unset",
            "count: Invalid value: \"\": needs to be unset",
            "source: Invalid value: \"\": needs to be unset",
        ],
    );
    let series = json!({ "count": 2, "lastObservedTime": "2026-11-24T10:00:01.000000Z" });
    create(NEW, with(timed(), "series", series.clone()), &[]);
    create(
        NEW,
        with(timed(), "series", json!({ "count": 1 })),
        &["series.count: Invalid value: \"\": should be at least 2", "series.lastObservedTime: Required value"],
    );
    update(NEW, timed(), "series", series, &[]);
    update(
        NEW,
        timed(),
        "series",
        json!({ "count": 1, "lastObservedTime": "2026-11-24T10:00:01.000000Z" }),
        &["series.count: Invalid value: \"\": should be at least 2"],
    );
    for (field, shown) in [("message", "message"), ("action", "action"), ("reportingComponent", "reportingController")]
    {
        let value = json!("example.com/other");
        let text = format!("{shown}: Invalid value: \"example.com/other\": field is immutable");
        update(NEW, timed(), field, value, &[&text]);
    }
}
