//! Lists in pages, and objects that are fixed or wrong.

use crate::hub::Hub;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_of_one_state() {
    const ALL: usize = 120;
    const PATH: &str = "/api/v1/namespaces/one/podtemplates";
    let hub = Hub::start().await;
    for number in 0..ALL {
        let template = json!({"spec": {"containers": [{"name": "test", "image": "test2"}]}});
        let body = json!({"metadata": {"name": format!("template-{number:04}")}, "template": template});
        hub.create(PATH, body).await;
    }
    for limit in [1, 7, 40, ALL - 1] {
        let (mut found, mut token, mut state) = (0, String::new(), None);
        loop {
            let list = hub.get(&format!("{PATH}?limit={limit}&continue={token}")).await.ok();
            let names = crate::hub::names(&list);
            assert!(names.len() <= limit, "{} of {limit}", names.len());
            let version = list["metadata"]["resourceVersion"].clone();
            assert_eq!(state.get_or_insert(version.clone()), &version, "pages of one list show one state");
            for name in &names {
                assert_eq!(*name, format!("template-{found:04}"));
                found += 1;
            }
            token = list["metadata"]["continue"].as_str().unwrap_or_default().to_string();
            let remaining = &list["metadata"]["remainingItemCount"];
            if token.is_empty() {
                assert!(remaining.is_null(), "{remaining}");
                break;
            }
            assert_eq!(remaining.as_u64().unwrap() as usize + found, ALL);
        }
        assert_eq!(found, ALL, "in pages of {limit}");
    }
    assert_eq!(hub.names(&format!("{PATH}?limit={}", ALL + 1)).await.len(), ALL);
}

/// Each way to name a state, and each way to name none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_the_state_that_was_asked_for() {
    const PATH: &str = "/api/v1/namespaces/one/configmaps";
    let hub = Hub::start().await;
    for name in ["a", "b", "c"] {
        hub.create(PATH, json!({"metadata": {"name": name}})).await;
    }
    let then = crate::hub::version(&hub.get(PATH).await.ok());
    hub.delete(&format!("{PATH}/a")).await.ok();
    hub.create(PATH, json!({"metadata": {"name": "d"}})).await;
    let now = crate::hub::version(&hub.get(PATH).await.ok());
    let (at, later) = (format!("resourceVersion={then}"), format!("resourceVersion={}", now + 1000));
    for (query, names, version) in [
        (String::new(), "b c d", now),
        ("resourceVersion=".into(), "b c d", now),
        ("resourceVersion=0".into(), "b c d", now),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".into(), "b c d", now),
        (at.clone(), "b c d", now),
        (format!("{at}&resourceVersionMatch=NotOlderThan"), "b c d", now),
        (format!("{at}&resourceVersionMatch=NotOlderThan&limit=2"), "b c", now),
        (format!("{at}&resourceVersionMatch=Exact"), "a b c", then),
        (format!("{at}&resourceVersionMatch=Exact&limit=2"), "a b", then),
        // The older rule: a page of a version is of that version.
        (format!("{at}&limit=2"), "a b", then),
        (format!("{at}&limit=9"), "a b c", then),
        ("limit=2".into(), "b c", now),
    ] {
        let list = hub.get(&format!("{PATH}?{query}")).await.ok();
        assert_eq!(
            (crate::hub::names(&list).join(" "), crate::hub::version(&list)),
            (names.into(), version),
            "{query}"
        );
        let Some(token) = list["metadata"]["continue"].as_str() else { continue };
        let rest = hub.get(&format!("{PATH}?limit=2&continue={token}")).await.ok();
        let last = if version == then { "c" } else { "d" };
        assert_eq!((crate::hub::names(&rest), crate::hub::version(&rest)), (vec![last.into()], version), "{query}");
        hub.get(&format!("{PATH}?limit=2&continue={token}&resourceVersion=0")).await.ok();
        let refused = hub.get(&format!("{PATH}?limit=2&continue={token}&{at}")).await.refused(400);
        assert_eq!(refused, "specifying resource version is not allowed when using continue");
        let refused = hub.get(&format!("{PATH}?limit=2&continue={token}&{at}&resourceVersionMatch=Exact")).await;
        let text = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided";
        assert!(refused.refused(422).ends_with(text), "{query}");
    }
    hub.store.compact(hub.store.revision()).await.unwrap();
    for (query, code, text) in [
        (
            "resourceVersion=0&resourceVersionMatch=Exact".into(),
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
                .into(),
        ),
        (
            "resourceVersionMatch=NotOlderThan".into(),
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
                .into(),
        ),
        (
            format!("{at}&resourceVersionMatch=Newest"),
            422,
            "resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \"NotOlderThan\", \"\""
                .into(),
        ),
        (
            "sendInitialEvents=true".into(),
            422,
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list".into(),
        ),
        (later.clone(), 504, format!("Too large resource version: {}, current: {now}", now + 1000)),
        (
            format!("{later}&resourceVersionMatch=NotOlderThan"),
            504,
            format!("Too large resource version: {}, current: {now}", now + 1000),
        ),
        (
            format!("{at}&resourceVersionMatch=Exact"),
            410,
            "The resourceVersion for the provided list is too old.".to_string(),
        ),
        (format!("{at}&limit=1"), 410, "The resourceVersion for the provided list is too old.".into()),
    ] {
        let refused = hub.get(&format!("{PATH}?{query}")).await.refused(code);
        assert!(refused.ends_with(&text), "{query}: {refused}");
    }
    // No older than what is gone is what is there.
    assert_eq!(hub.names(&format!("{PATH}?{at}")).await, ["b", "c", "d"]);
}

/// A token whose revision is gone is answered with one that lists the rest as it is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_list_goes_on_with_what_is_there() {
    const PATH: &str = "/api/v1/namespaces/one/configmaps";
    let hub = Hub::start().await;
    for name in ["a", "b", "c", "d"] {
        hub.create(PATH, json!({"metadata": {"name": name}})).await;
    }
    let first = hub.get(&format!("{PATH}?limit=1")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    hub.delete(&format!("{PATH}/b")).await.ok();
    hub.create(PATH, json!({"metadata": {"name": "e"}})).await;
    hub.store.compact(hub.store.revision()).await.unwrap();

    let expired = hub.get(&format!("{PATH}?limit=2&continue={token}")).await;
    assert_eq!((expired.code, &expired.body["reason"]), (410, &json!("Expired")), "{:#}", expired.body);
    let token = expired.body["metadata"]["continue"].as_str().unwrap().to_string();
    let text = "or use the continue token in this response to retrieve the remainder of the results";
    assert!(expired.refused(410).contains(text));
    let rest = hub.get(&format!("{PATH}?limit=2&continue={token}")).await.ok();
    assert_eq!(crate::hub::names(&rest), ["c", "d"]);
    assert_ne!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = rest["metadata"]["continue"].as_str().unwrap();
    let last = hub.get(&format!("{PATH}?limit=2&continue={token}")).await.ok();
    assert_eq!(crate::hub::names(&last), ["e"]);
    assert_eq!(last["metadata"]["resourceVersion"], rest["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_immutable_stays_as_it_is() {
    let hub = Hub::start().await;
    for plural in ["configmaps", "secrets"] {
        let path = format!("/api/v1/namespaces/one/{plural}");
        let name = format!("{path}/fixed");
        hub.create(&path, json!({"metadata": {"name": "fixed"}, "data": {"key": "MQ=="}})).await;
        let free = hub.patch(&name, "merge-patch", &json!({"data": {"key": "Mg=="}})).await.ok();
        let fixed = hub.patch(&name, "merge-patch", &json!({"immutable": true})).await.ok();
        assert_eq!((&free["data"]["key"], &fixed["immutable"]), (&json!("Mg=="), &json!(true)));
        let mut other = fixed.clone();
        other["data"]["key"] = json!("Mw==");
        let refused = hub.put(&name, &other).await.refused(422);
        assert!(refused.contains("field is immutable when `immutable` is set"), "{refused}");
        // Neither taken back nor left out.
        for immutable in [json!(false), json!(null)] {
            let mut other = fixed.clone();
            other["immutable"] = immutable;
            let refused = hub.put(&name, &other).await.refused(422);
            assert!(refused.contains("field is immutable when `immutable` is set"), "{refused}");
        }
        // Its metadata is free, and it can be deleted.
        let mut labelled = fixed;
        labelled["metadata"]["labels"] = json!({"label1": "value1"});
        let labelled = hub.put(&name, &labelled).await.ok();
        assert_eq!(labelled["metadata"]["labels"]["label1"], "value1");
        hub.delete(&name).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_keys_are_refused() {
    let hub = Hub::start().await;
    for plural in ["configmaps", "secrets"] {
        let path = format!("/api/v1/namespaces/one/{plural}");
        let refused = hub.post(&path, &json!({"metadata": {"name": "empty"}, "data": {"": "MQ=="}})).await.refused(422);
        assert!(refused.contains("data[]: Invalid value: \"\""), "{refused}");
        hub.get(&format!("{path}/empty")).await.refused(404);
    }
}

/// Whoever looks for Events by what reported them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_found_by_their_source_in_both_versions() {
    let hub = Hub::start().await;
    let new = "/apis/events.k8s.io/v1/namespaces/one/events";
    for (name, reporter) in [("ours", "test-controller"), ("theirs", "other-controller")] {
        let event = json!({"metadata": {"name": name, "labels": {"of": name}}, "regarding": {"namespace": "one"},
            "eventTime": "2017-09-19T13:49:16.000000Z", "note": "as made", "action": "Do", "reason": "Test",
            "type": "Normal", "reportingController": reporter, "reportingInstance": "test-node"});
        hub.create(new, event).await;
    }
    let old = "/api/v1/namespaces/one/events";
    assert_eq!(hub.names(&format!("{old}?fieldSelector=source%3Dtest-controller")).await, ["ours"]);
    assert_eq!(hub.names(&format!("{new}?fieldSelector=reportingController%3Dtest-controller")).await, ["ours"]);
    // The one version shows what the other changes.
    hub.patch(&format!("{old}/ours"), "strategic-merge-patch", &json!({"message": "as patched"})).await.ok();
    let patched = hub.get(&format!("{new}/ours")).await.ok();
    assert_eq!(patched["note"], "as patched");
    // By the new version only the series changes.
    let note = hub.patch(&format!("{new}/ours"), "strategic-merge-patch", &json!({"note": "another"})).await;
    let refused = note.refused(422);
    assert!(refused.contains("message: Invalid value: \"another\": field is immutable"), "{refused}");
    let mut newer = patched.clone();
    newer["series"] = json!({"count": 100, "lastObservedTime": "2017-09-19T13:49:16.000000Z"});
    let updated = hub.put(&format!("{new}/ours"), &newer).await.ok();
    assert_eq!(updated["series"], newer["series"]);
    assert_eq!(hub.get(&format!("{old}/ours")).await.ok()["message"], "as patched");
    hub.delete(&format!("{new}/ours")).await.ok();
    for path in [old, new, "/api/v1/events", "/apis/events.k8s.io/v1/events"] {
        assert!(hub.names(&format!("{path}?labelSelector=of%3Dours")).await.is_empty(), "{path}");
    }
}

/// Kinds that name what may not change in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_priority_is_fixed_and_its_description_is_not() {
    let hub = Hub::start().await;
    let path = "/apis/scheduling.k8s.io/v1/priorityclasses";
    for (name, value) in [("p1", 1), ("p2", 2)] {
        hub.create(path, json!({"metadata": {"name": name}, "value": value})).await;
    }
    let p1 = format!("{path}/p1");
    let described = hub.patch(&p1, "json-patch", &json!([{"op": "add", "path": "/description", "value": "d"}])).await;
    let mut described = described.ok();
    assert_eq!(described["description"], "d");
    let value = json!([{"op": "replace", "path": "/value", "value": 10}]);
    let refused = hub.patch(&p1, "json-patch", &value).await.refused(422);
    assert!(refused.contains("value: Forbidden: may not be changed in an update."), "{refused}");
    described["value"] = json!(10);
    hub.put(&p1, &described).await.refused(422);
    let names = hub.names(path).await;
    assert!(names.contains(&"p1".to_string()) && names.contains(&"p2".to_string()), "{names:?}");
    assert_eq!(hub.get(&p1).await.ok()["value"], 1);
}
