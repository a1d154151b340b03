//! Parameters of requests.

use super::dialect::{Dialect, In};
use holdfast_core::Json;

/// Name, type, description.
type Parameter = (&'static str, &'static str, &'static str);

pub(super) const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events that tell how far a watch has come."),
    ("continue", "string", "Where the page before ended, as its metadata.continue said."),
    ("fieldSelector", "string", "Select by fields, for example metadata.name=web."),
    ("labelSelector", "string", "Select by labels, for example app=web,tier!=back."),
    ("limit", "integer", "Return at most so many items; the answer says where the next page begins."),
    ("resourceVersion", "string", "The state that the answer is to show, as resourceVersionMatch says."),
    ("resourceVersionMatch", "string", "Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with the current objects and a bookmark that ends them."),
    ("timeoutSeconds", "integer", "End the call after so many seconds."),
    ("watch", "boolean", "Send changes instead of a list."),
];

/// What selects the objects of a deletecollection.
pub(super) const SELECT: &[&str] = &[
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];

pub(super) const WRITE: &[Parameter] = &[
    ("dryRun", "string", "All: go through everything but store nothing."),
    ("fieldManager", "string", "Who makes the change; at most 128 printable characters."),
    ("fieldValidation", "string", "What happens to unknown and duplicate fields: Ignore, Warn (default) or Strict."),
];

pub(super) const FORCE: Parameter = ("force", "boolean", "Apply only: take over fields that others own.");

pub(super) const DELETE: &[Parameter] = &[
    ("dryRun", "string", "All: go through everything but store nothing."),
    ("gracePeriodSeconds", "integer", "Seconds of grace; 0 deletes at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read any more, without its finalizers.",
    ),
    ("orphanDependents", "boolean", "Old form of propagationPolicy=Orphan."),
    ("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];

pub(super) const PRETTY: Parameter = ("pretty", "string", "If true, the answer is indented.");

const CONTAINER: Parameter = ("container", "string", "The container; not needed when there is one.");
const STREAMS: [Parameter; 4] = [
    ("stderr", "boolean", "Carry standard error."),
    ("stdin", "boolean", "Carry standard input."),
    ("stdout", "boolean", "Carry standard output."),
    ("tty", "boolean", "Allocate a terminal."),
];

pub(super) const ATTACH: &[Parameter] = &[CONTAINER, STREAMS[0], STREAMS[1], STREAMS[2], STREAMS[3]];

pub(super) const EXEC: &[Parameter] = &[
    ("command", "string", "The command and its arguments, one a parameter. No shell is involved."),
    CONTAINER,
    STREAMS[0],
    STREAMS[1],
    STREAMS[2],
    STREAMS[3],
];

pub(super) const PORTS: &[Parameter] =
    &[("ports", "integer", "The ports to forward; needed where the channels of a WebSocket are ports.")];

pub(super) const PROXY: &[Parameter] = &[("path", "string", "The path to ask for behind the proxy.")];

pub(super) const LOG: &[Parameter] = &[
    CONTAINER,
    ("follow", "boolean", "Stay and send what comes."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Has no effect: the link to the node is always verified."),
    ("limitBytes", "integer", "Stop after so many bytes."),
    ("previous", "boolean", "The log of the container before its last restart."),
    ("sinceSeconds", "integer", "Only what was written in the last so many seconds."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Only the last so many lines."),
    ("timestamps", "boolean", "Put its time before each line."),
];

/// Parameters of the query.
pub(super) fn query<'a>(dialect: Dialect, list: impl IntoIterator<Item = &'a Parameter>) -> Vec<Json> {
    list.into_iter().map(|(name, kind, text)| dialect.parameter(name, In::Query, kind, text)).collect()
}

/// The rest of a path.
pub(super) fn rest(dialect: Dialect) -> Json {
    dialect.parameter("path", In::Path, "string", "The path to ask for behind the proxy.")
}

/// The parameters of a path, and `pretty`.
pub(super) fn common(dialect: Dialect, kind: &str, named: bool, namespaced: bool) -> Vec<Json> {
    let mut list = Vec::new();
    if named {
        list.push(dialect.parameter("name", In::Path, "string", &format!("Name of the {kind}.")));
    }
    if namespaced {
        list.push(dialect.parameter("namespace", In::Path, "string", "Namespace of the request."));
    }
    list.extend(query(dialect, [&PRETTY]));
    list
}
