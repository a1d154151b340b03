//! batch: Job, CronJob.

use super::*;

const JOBS: &str = "batch/jobs";

fn job() -> Json {
    json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [
        { "name": "main", "image": "app" }] } } } })
}

fn indexed() -> Json {
    let doc = with(job(), "spec.completionMode", json!("Indexed"));
    with(doc, "spec.completions", json!(3))
}

#[test]
fn jobs_get_what_upstream_gives_them() {
    let stored = made(JOBS, job());
    let spec = &stored["spec"];
    assert_eq!(
        [&spec["completions"], &spec["parallelism"], &spec["backoffLimit"], &spec["suspend"]],
        [&json!(1), &json!(1), &json!(6), &json!(false)]
    );
    assert_eq!(
        (&spec["completionMode"], &spec["podReplacementPolicy"]),
        (&json!("NonIndexed"), &json!("TerminatingOrFailed"))
    );
    assert_eq!(spec["selector"], json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "uid-1" } }));
    assert_eq!(
        spec["template"]["metadata"]["labels"],
        json!({ "job-name": "a", "batch.kubernetes.io/job-name": "a", "controller-uid": "uid-1",
            "batch.kubernetes.io/controller-uid": "uid-1" })
    );
    create(JOBS, job(), &[]);
    create(JOBS, indexed(), &[]);
}

#[test]
fn jobs() {
    create(
        JOBS,
        with(job(), "spec.template.spec.restartPolicy", json!("Always")),
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    create(
        JOBS,
        with(job(), "spec.parallelism", json!(-1)),
        &["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"],
    );
    create(
        JOBS,
        with(job(), "spec.completionMode", json!("Other")),
        &["spec.completionMode: Unsupported value: \"Other\": supported values: \"NonIndexed\", \"Indexed\""],
    );
    create(
        JOBS,
        with(job(), "spec.backoffLimitPerIndex", json!(1)),
        &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
    );
    create(
        JOBS,
        with(indexed(), "spec.maxFailedIndexes", json!(5)),
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions",
        ],
    );
    create(
        JOBS,
        with(job(), "spec.managedBy", json!("me")),
        &["spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
    );
    create(JOBS, with(job(), "spec.manualSelector", json!(true)), &["spec.selector: Required value"]);
    create(
        JOBS,
        with(job(), "spec.template.metadata", json!({ "labels": { "job-name": "other" } })),
        &[
            "spec.template.metadata.labels[job-name]: Invalid value: {\"job-name\":\"other\",\"batch.kubernetes.io/job-name\":\"a\",\"controller-uid\":\"uid-1\",\"batch.kubernetes.io/controller-uid\":\"uid-1\"}: must be 'a'",
        ],
    );
}

#[test]
fn policies_of_jobs() {
    let policy = |rule: Json| with(job(), "spec.podFailurePolicy", json!({ "rules": [rule] }));
    create(JOBS, policy(json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] })), &[]);
    create(
        JOBS,
        policy(
            json!({ "action": "Stop", "onExitCodes": { "containerName": "x", "operator": "In", "values": [0, 3, 2, 2] } }),
        ),
        &[
            "spec.podFailurePolicy.rules[0].action: Unsupported value: \"Stop\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 2",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,3,2,2]: must be ordered",
        ],
    );
    create(
        JOBS,
        policy(json!({})),
        &[
            "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ],
    );
    create(
        JOBS,
        with(
            policy(json!({ "action": "Ignore", "onPodConditions": [{ "type": "A" }] })),
            "spec.podReplacementPolicy",
            json!("TerminatingOrFailed"),
        ),
        &["spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\""],
    );
    create(
        JOBS,
        with(indexed(), "spec.successPolicy", json!({ "rules": [{ "succeededIndexes": "0-1", "succeededCount": 2 }] })),
        &[],
    );
    create(
        JOBS,
        with(
            indexed(),
            "spec.successPolicy",
            json!({ "rules": [{ "succeededIndexes": "0-5" }, { "succeededIndexes": "1", "succeededCount": 2 }, {}] }),
        ),
        &[
            "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-5\": error parsing succeededIndexes: too large index: \"5\"",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 2: must be less than or equal to 1 (the number of indexes in the specified succeededIndexes field)",
            "spec.successPolicy.rules[2]: Required value: at least one of succeededCount or succeededIndexes must be specified",
        ],
    );
}

#[test]
fn changes_of_jobs() {
    update(JOBS, job(), "spec.parallelism", json!(3), &[]);
    update(JOBS, job(), "spec.completions", json!(3), &["spec.completions: Invalid value: 3: field is immutable"]);
    update(
        JOBS,
        indexed(),
        "spec.completions",
        json!(4),
        &["spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"],
    );
    let old = made(JOBS, job());
    let shown = with(old["spec"]["template"].clone(), "spec.hostNetwork", json!(true));
    let text = format!("spec.template: Invalid value: {shown}: field is immutable");
    update(JOBS, job(), "spec.template.spec.hostNetwork", json!(true), &[&text]);
    update(
        JOBS,
        job(),
        "spec.completionMode",
        json!("Indexed"),
        &["spec.completionMode: Invalid value: \"Indexed\": field is immutable"],
    );
}

#[test]
fn a_suspended_job_may_be_told_where_to_run() {
    let strategy = strategy(JOBS);
    let mut old = made(JOBS, with(job(), "spec.suspend", json!(true)));
    old["status"] = json!({ "conditions": [{ "type": "Suspended", "status": "True" }] });
    let mut new = with(old.clone(), "spec.template.spec.nodeSelector", json!({ "disk": "ssd" }));
    new = with(new, "spec.template.spec.containers.0.resources", json!({ "requests": { "cpu": "1" } }));
    let mut errors = FieldErrors::new();
    strategy.validate_update(&new, &old, &mut errors);
    assert_eq!(texts(&errors), Vec::<String>::new());
    strategy.validate_update(&with(new, "spec.template.spec.hostNetwork", json!(true)), &old, &mut errors);
    assert_eq!(errors.0.len(), 1);
    assert!(texts(&errors)[0].starts_with("spec.template.spec: Invalid value: "), "{errors:?}");
}

#[test]
fn statuses_of_jobs() {
    let start = "2026-11-24T10:00:00Z";
    let holds =
        |kinds: &[&str]| -> Json { kinds.iter().map(|kind| json!({ "type": kind, "status": "True" })).collect() };
    let done = json!({ "startTime": start, "completionTime": "2026-11-24T11:00:00Z", "succeeded": 1,
        "conditions": holds(&["SuccessCriteriaMet", "Complete"]) });
    status(JOBS, job(), json!({ "startTime": start }), done.clone(), &[]);
    status(
        JOBS,
        job(),
        json!({ "startTime": start, "failed": 2 }),
        json!({ "startTime": start, "failed": 1, "active": 1, "conditions": holds(&["Complete", "Failed"]) }),
        &[
            "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions",
            "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.failed: Invalid value: 1: cannot decrease the failed counter",
        ],
    );
    status(
        JOBS,
        job(),
        done,
        json!({ "startTime": start, "succeeded": 1 }),
        &[
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ],
    );
    status(
        JOBS,
        job(),
        json!({}),
        json!({ "completedIndexes": "0", "uncountedTerminatedPods": { "succeeded": ["a", ""], "failed": ["a"] } }),
        &[
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
        ],
    );
}

#[test]
fn cron_jobs() {
    const CRON: &str = "batch/cronjobs";
    let cron = || json!({ "spec": { "schedule": "0 * * * *", "jobTemplate": job() } });
    create(CRON, cron(), &[]);
    assert_eq!(made(CRON, cron())["spec"]["concurrencyPolicy"], "Allow");
    create(CRON, with(cron(), "spec.schedule", json!("")), &["spec.schedule: Required value"]);
    create(
        CRON,
        with(cron(), "spec.schedule", json!("TZ=UTC 0 * * * *")),
        &[
            "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ],
    );
    create(
        CRON,
        with(cron(), "spec.timeZone", json!("local")),
        &[
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ],
    );
    create(CRON, with(cron(), "spec.timeZone", json!("Europe/Berlin")), &[]);
    create(
        CRON,
        with(cron(), "spec.timeZone", json!("../etc")),
        &["spec.timeZone: Invalid value: \"../etc\": unknown time zone ../etc"],
    );
    create(
        CRON,
        with(cron(), "spec.jobTemplate.spec.selector", json!({})),
        &["spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"],
    );
    let long = "a".repeat(53);
    create(
        CRON,
        with(cron(), "metadata", json!({ "name": long })),
        &[&format!("metadata.name: Invalid value: {long:?}: must be no more than 52 characters")],
    );
    update(CRON, cron(), "spec.suspend", json!(true), &[]);
    update(
        CRON,
        cron(),
        "spec.failedJobsHistoryLimit",
        json!(-1),
        &["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
    );
}
