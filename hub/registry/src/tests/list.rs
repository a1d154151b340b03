//! Lists: pages, revisions, selectors.

use super::*;
use holdfast_core::verbs::VersionMatch;
use holdfast_core::{FieldSelector, LabelSelector, ObjectList, Revision};

async fn list(cluster: &Cluster, options: &ListOptions) -> Result<ObjectList, Status> {
    cluster.registry.list(&cluster.cx, &target("configmaps", "default", ""), options).await
}

fn names(list: &ObjectList) -> Vec<&str> {
    list.items.iter().map(|object| object.meta.name.as_str()).collect()
}

async fn with_maps(count: usize) -> Cluster {
    let cluster = cluster().await;
    for n in 0..count {
        let labels = json!({ "odd": (n % 2 == 1).to_string() });
        cluster.create("configmaps", "default", config_map(&format!("m{n}"), labels)).await.unwrap();
    }
    cluster
}

#[tokio::test]
async fn pages_show_one_state() {
    let cluster = with_maps(5).await;
    let mut options = ListOptions { limit: 2, ..ListOptions::default() };
    let first = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["m0", "m1"], Some(3)));
    cluster.delete("configmaps", "default", "m2").await.unwrap();
    options.continue_token = first.continue_token.clone();
    let second = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&second), second.revision), (vec!["m2", "m3"], first.revision));
    options.continue_token = second.continue_token.clone();
    let last = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&last), last.continue_token.is_none()), (vec!["m4"], true));

    cluster.store.compact(cluster.store.revision()).await.unwrap();
    options.continue_token = first.continue_token;
    let status = list(&cluster, &options).await.unwrap_err();
    assert!(status.code() == 410 && status.message().starts_with("The provided continue parameter is too old"));

    // The rest, as it is now: without what was deleted, and with what came since.
    cluster.create("configmaps", "default", config_map("m9", json!({}))).await.unwrap();
    options.continue_token = Some(status.continue_token().to_string());
    let rest = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&rest), rest.remaining, rest.revision), (vec!["m3", "m4"], Some(1), cluster.store.revision()));
    options.continue_token = rest.continue_token;
    let end = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&end), end.revision, &end.continue_token), (vec!["m9"], rest.revision, &None));
    options.continue_token = Some("nonsense".into());
    assert_eq!(list(&cluster, &options).await.unwrap_err().code(), 400);
}

#[tokio::test]
async fn selectors_fill_pages_without_a_count() {
    let cluster = with_maps(7).await;
    let labels = LabelSelector::parse("odd=true").unwrap();
    let mut options = ListOptions { labels, limit: 2, ..ListOptions::default() };
    let first = list(&cluster, &options).await.unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["m1", "m3"], None));
    options.continue_token = first.continue_token;
    assert_eq!(names(&list(&cluster, &options).await.unwrap()), ["m5"]);

    let by_name = ListOptions { fields: FieldSelector::equals("metadata.name", "m3"), ..ListOptions::default() };
    assert_eq!(names(&list(&cluster, &by_name).await.unwrap()), ["m3"]);
    let other = ListOptions { fields: FieldSelector::equals("data.key", "x"), ..ListOptions::default() };
    let status = list(&cluster, &other).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (400, "field label not supported: data.key"));
}

#[tokio::test]
async fn revisions_mean_what_upstream_says() {
    let cluster = with_maps(2).await;
    let before = cluster.store.revision();
    cluster.delete("configmaps", "default", "m0").await.unwrap();
    let at = |revision: u64, version_match| ListOptions {
        resource_version: Some(Revision(revision)),
        version_match,
        ..ListOptions::default()
    };
    let exact = list(&cluster, &at(before.0, Some(VersionMatch::Exact))).await.unwrap();
    assert_eq!((names(&exact), exact.revision), (vec!["m0", "m1"], before));
    for newest in [at(before.0, Some(VersionMatch::NotOlderThan)), at(0, None), at(before.0, None)] {
        assert_eq!(names(&list(&cluster, &newest).await.unwrap()), ["m1"]);
    }
    let status = list(&cluster, &at(before.0 + 1000, None)).await.unwrap_err();
    assert!(status.code() == 504 && status.message().contains("Too large resource version"), "{status}");
    let mut bad = at(0, Some(VersionMatch::Exact));
    assert_eq!(list(&cluster, &bad).await.unwrap_err().code(), 422);
    bad.resource_version = None;
    let text = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is \
                forbidden unless resourceVersion is provided";
    assert_eq!(list(&cluster, &bad).await.unwrap_err().message(), text);
}

#[tokio::test]
async fn one_kind_in_two_versions_is_one_object() {
    let cluster = cluster().await;
    let event = json!({
        "metadata": { "name": "e" }, "regarding": { "kind": "Pod", "name": "a", "namespace": "default" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/x",
        "reportingInstance": "x-1", "action": "Binding", "reason": "Scheduled", "note": "done", "type": "Normal",
    });
    cluster.create("events.k8s.io/events", "default", event).await.unwrap();
    let old = cluster.get("events", "default", "e").await.unwrap();
    assert_eq!((&old["apiVersion"], &old["message"]), (&json!("v1"), &json!("done")));
    assert_eq!(old["involvedObject"]["name"], "a");
    let new = cluster.get("events.k8s.io/events", "default", "e").await.unwrap();
    assert_eq!((&new["apiVersion"], &new["note"]), (&json!("events.k8s.io/v1"), &json!("done")));
    let fields = FieldSelector::equals("regarding.name", "a");
    let options = ListOptions { fields, ..ListOptions::default() };
    let at = target("events.k8s.io/events", "default", "");
    assert_eq!(cluster.registry.list(&cluster.cx, &at, &options).await.unwrap().items.len(), 1);
}

/// What a list shows, row by row of the table in
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>.
#[tokio::test]
async fn every_combination_of_paging_and_versions_means_what_the_documentation_says() {
    use VersionMatch::{Exact, NotOlderThan};
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Paging {
        All,
        First,
        Next,
    }
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Shown {
        /// What there is now.
        Newest,
        /// What there was at the version.
        AsItWas,
        /// The rest of what there was at the first page.
        TheRest,
        Refused(u16, &'static str),
    }
    use Paging::{All, First, Next};
    use Shown::{AsItWas, Newest, Refused, TheRest};

    let cluster = with_maps(4).await;
    let then = cluster.store.revision();
    let page = ListOptions { limit: 2, ..ListOptions::default() };
    let token = list(&cluster, &page).await.unwrap().continue_token;
    cluster.delete("configmaps", "default", "m0").await.unwrap();
    cluster.delete("configmaps", "default", "m2").await.unwrap();

    const NO_VERSION: Shown = Refused(422, "resourceVersionMatch is forbidden unless resourceVersion is provided");
    const EXACT_ZERO: Shown = Refused(422, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    const WITH_TOKEN: Shown = Refused(422, "resourceVersionMatch is forbidden when continue is provided");
    let table = [
        (None, All, [Newest, Newest, Newest]),
        (None, First, [Newest, Newest, AsItWas]),
        (
            None,
            Next,
            [TheRest, TheRest, Refused(400, "specifying resource version is not allowed when using continue")],
        ),
        (Some(Exact), All, [NO_VERSION, EXACT_ZERO, AsItWas]),
        (Some(Exact), First, [NO_VERSION, EXACT_ZERO, AsItWas]),
        // The first of them; where more is wrong, more is told.
        (Some(Exact), Next, [NO_VERSION, WITH_TOKEN, WITH_TOKEN]),
        (Some(NotOlderThan), All, [NO_VERSION, Newest, Newest]),
        (Some(NotOlderThan), First, [NO_VERSION, Newest, Newest]),
        (Some(NotOlderThan), Next, [NO_VERSION, WITH_TOKEN, WITH_TOKEN]),
    ];
    for (version_match, paging, expected) in table {
        for (version, expected) in [None, Some(Revision(0)), Some(then)].into_iter().zip(expected) {
            let options = ListOptions {
                limit: if paging == All { 0 } else { 2 },
                continue_token: token.clone().filter(|_| paging == Next),
                resource_version: version,
                version_match,
                ..ListOptions::default()
            };
            let row = format!("{version_match:?} {paging:?} {version:?}");
            let shown = list(&cluster, &options).await;
            let expected_names: &[&str] = match (expected, paging) {
                (Refused(code, why), _) => {
                    let status = shown.expect_err(&row);
                    assert!(status.code() == code && status.message().contains(why), "{row}: {status}");
                    continue;
                }
                (Newest, _) => &["m1", "m3"],
                (AsItWas, All) => &["m0", "m1", "m2", "m3"],
                (AsItWas, _) => &["m0", "m1"],
                (TheRest, _) => &["m2", "m3"],
            };
            let shown = shown.unwrap_or_else(|status| panic!("{row}: {status}"));
            assert_eq!(names(&shown), expected_names, "{row}");
            let revision = if expected == Newest { cluster.store.revision() } else { then };
            assert_eq!(shown.revision, revision, "{row}");
        }
    }
}
