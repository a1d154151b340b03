//! batch: Job, CronJob.

use crate::apps::{CONTAINERS, IMAGES, SELECTOR, TEMPLATE};
use crate::show::{AGE, NAME, NONE, age, column, containers, human, int, name, or, selector_or_none, since, text};
use crate::{Kind, Subresource};
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use holdfast_core::{Json, Timestamp};

/// batch/v1 Job.
pub(crate) const JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    subresources: &[Subresource::status("batch", "Job")],
    schema: "io.k8s.api.batch.v1.Job",
    columns: &[
        NAME,
        column("Status", "string", "Whether it runs, and how it ended."),
        column("Completions", "string", "Pods that succeeded, of all that should."),
        column("Duration", "string", "How long it ran, or has been running."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: job_row,
    field_selectors: &["status.successful"],
    field: |doc, field| match field {
        "status.successful" => int(doc, &["status", "succeeded"]).to_string(),
        _ => String::new(),
    },
    ..Kind::BASE
};

/// batch/v1 CronJob.
pub(crate) const CRON_JOB: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[Subresource::status("batch", "CronJob")],
    schema: "io.k8s.api.batch.v1.CronJob",
    columns: &[
        NAME,
        column("Schedule", "string", "When it makes Jobs, as cron writes it."),
        column("Timezone", "string", "The time zone of the schedule."),
        column("Suspend", "boolean", "Whether it makes no Jobs for now."),
        column("Active", "integer", "Its Jobs that run."),
        column("Last Schedule", "string", "Time since it last made a Job."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: cron_job_row,
    ..Kind::BASE
};

/// What a Job's condition makes of its status, the first that is true.
const STATES: &[(&str, &str)] = &[
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
];

fn state(doc: &Json) -> &'static str {
    let conditions = items_at(doc, &["status", "conditions"]);
    let holds = |kind: &str| {
        conditions.iter().any(|one| str_at(one, &["type"]) == Some(kind) && str_at(one, &["status"]) == Some("True"))
    };
    let found = STATES.iter().find(|(kind, _)| match *kind {
        "" => at(doc, &["metadata", "deletionTimestamp"]).is_some(),
        kind => holds(kind),
    });
    found.map_or("Running", |(_, shown)| shown)
}

fn completions(doc: &Json) -> String {
    let succeeded = int(doc, &["status", "succeeded"]);
    match (i64_at(doc, &["spec", "completions"]), int(doc, &["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(doc: &Json, now: Timestamp) -> String {
    let moment = |field: &str| str_at(doc, &["status", field]).and_then(Timestamp::parse);
    let Some(start) = moment("startTime") else { return String::new() };
    let end = moment("completionTime").unwrap_or(now);
    human(i64::try_from(end.since(start).as_secs()).unwrap_or(i64::MAX))
}

fn job_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let (names, images) = containers(doc, TEMPLATE);
    vec![
        name(doc),
        state(doc).into(),
        completions(doc).into(),
        duration(doc, now).into(),
        age(doc, now),
        names.into(),
        images.into(),
        selector_or_none(at(doc, &["spec", "selector"])).into(),
    ]
}

fn cron_job_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let (names, images) = containers(doc, &["spec", "jobTemplate", "spec", "template", "spec", "containers"]);
    let suspend = match bool_at(doc, &["spec", "suspend"]) {
        Some(true) => "True",
        Some(false) => "False",
        None => crate::show::UNSET,
    };
    let last = str_at(doc, &["status", "lastScheduleTime"]);
    vec![
        name(doc),
        text(doc, &["spec", "schedule"]).into(),
        or(text(doc, &["spec", "timeZone"]), NONE).into(),
        suspend.into(),
        items_at(doc, &["status", "active"]).len().into(),
        last.map_or_else(|| NONE.to_string(), |moment| since(Some(moment), now)).into(),
        age(doc, now),
        names.into(),
        images.into(),
        selector_or_none(at(doc, &["spec", "jobTemplate", "spec", "selector"])).into(),
    ]
}
