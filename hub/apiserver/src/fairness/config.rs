//! Flow schemas and priority levels as they are used: read from objects that were validated, and the mandatory ones, which are
//! in force whether they are stored or not.

use super::queues::Shape;
use super::shares::Part;
use holdfast_controller::Project;
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use holdfast_core::user::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};
use holdfast_core::{Json, Object};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The schema and the level of what is never held up.
pub(super) const EXEMPT: &str = "exempt";
/// The schema and the level of what matches nothing else.
pub(super) const CATCH_ALL: &str = "catch-all";

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguisher {
    User,
    Namespace,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    User(String),
    Group(String),
    /// Namespace and name.
    ServiceAccount(String, String),
}

/// Strings of which one must be met; `*` alone is met by all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) all: bool,
    pub(super) words: Vec<String>,
}

impl Words {
    /// Whether this word is among them.
    pub(super) fn has(&self, word: &str) -> bool {
        self.all || self.words.iter().any(|one| one == word)
    }

    fn read(doc: &Json, field: &str) -> Words {
        let words: Vec<String> = items_at(doc, &[field]).iter().filter_map(Json::as_str).map(String::from).collect();
        Words { all: words == ["*"], words }
    }
}

/// Requests about resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResourceRule {
    pub(super) verbs: Words,
    pub(super) groups: Words,
    pub(super) resources: Words,
    pub(super) namespaces: Words,
    pub(super) cluster_scope: bool,
}

/// Requests about paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathRule {
    pub(super) verbs: Words,
    pub(super) urls: Words,
}

/// Requests of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) subjects: Vec<Subject>,
    pub(super) resources: Vec<ResourceRule>,
    pub(super) paths: Vec<PathRule>,
}

/// A FlowSchema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) name: Arc<str>,
    /// Empty for a mandatory one that is not stored.
    pub(super) uid: String,
    pub(super) level: Arc<str>,
    pub(super) precedence: i64,
    pub(super) distinguisher: Option<Distinguisher>,
    pub(super) rules: Vec<Rule>,
}

/// What a stored schema says of its level: whether it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dangling {
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A stored FlowSchema.
pub(super) struct StoredSchema {
    pub(super) schema: Arc<Schema>,
    /// Status, reason and message of its condition, if it has one.
    pub(super) told: Option<[String; 3]>,
}

/// A PriorityLevelConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub(super) name: Arc<str>,
    /// Empty for a mandatory one that is not stored.
    pub(super) uid: String,
    pub(super) part: Part,
    pub(super) shape: Shape,
}

/// The condition's type.
pub(super) const DANGLING: &str = "Dangling";

impl Dangling {
    /// What is to be told of a schema.
    pub(super) fn of(level: &str, found: bool) -> Dangling {
        let what = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
        match found {
            true => Dangling { status: "False", reason: "Found", message: format!("{what} and it exists") },
            false => {
                Dangling { status: "True", reason: "NotFound", message: format!("{what} but there is no such object") }
            }
        }
    }

    /// Whether it is told already.
    pub(super) fn is(&self, told: Option<&[String; 3]>) -> bool {
        told.is_some_and(|told| *told == [self.status, self.reason, self.message.as_str()])
    }
}

impl Schema {
    fn read(name: &str, uid: &str, spec: &Json) -> Schema {
        let text = |path: &[&str]| str_at(spec, path).unwrap_or_default();
        Schema {
            name: name.into(),
            uid: uid.to_string(),
            level: text(&["priorityLevelConfiguration", "name"]).into(),
            precedence: i64_at(spec, &["matchingPrecedence"]).unwrap_or_default(),
            distinguisher: match text(&["distinguisherMethod", "type"]) {
                "ByUser" => Some(Distinguisher::User),
                "ByNamespace" => Some(Distinguisher::Namespace),
                _ => None,
            },
            rules: items_at(spec, &["rules"]).iter().map(Rule::read).collect(),
        }
    }

    /// The mandatory ones, as upstream has them.
    pub(super) fn mandatory() -> [Schema; 2] {
        let of_all = |name: &str, precedence, distinguisher, groups: &[&str]| {
            let all = || Words { all: true, words: Vec::new() };
            let rule = Rule {
                subjects: groups.iter().map(|group| Subject::Group((*group).to_string())).collect(),
                resources: vec![ResourceRule {
                    verbs: all(),
                    groups: all(),
                    resources: all(),
                    namespaces: all(),
                    cluster_scope: true,
                }],
                paths: vec![PathRule { verbs: all(), urls: all() }],
            };
            let (name, level) = (Arc::from(name), Arc::from(name));
            Schema { name, uid: String::new(), level, precedence, distinguisher, rules: vec![rule] }
        };
        [
            of_all(EXEMPT, 1, None, &[MASTERS]),
            of_all(CATCH_ALL, 10_000, Some(Distinguisher::User), &[UNAUTHENTICATED, AUTHENTICATED]),
        ]
    }

    /// A number for a flow, by which its queues are drawn.
    pub(super) fn hash(&self, flow: &str) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(flow.as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&hash.finalize()[..8]);
        u64::from_le_bytes(number)
    }
}

impl Rule {
    fn read(doc: &Json) -> Rule {
        Rule {
            subjects: items_at(doc, &["subjects"]).iter().filter_map(Subject::read).collect(),
            resources: items_at(doc, &["resourceRules"])
                .iter()
                .map(|rule| ResourceRule {
                    verbs: Words::read(rule, "verbs"),
                    groups: Words::read(rule, "apiGroups"),
                    resources: Words::read(rule, "resources"),
                    namespaces: Words::read(rule, "namespaces"),
                    cluster_scope: bool_at(rule, &["clusterScope"]).unwrap_or_default(),
                })
                .collect(),
            paths: items_at(doc, &["nonResourceRules"])
                .iter()
                .map(|rule| PathRule { verbs: Words::read(rule, "verbs"), urls: Words::read(rule, "nonResourceURLs") })
                .collect(),
        }
    }
}

impl Subject {
    fn read(doc: &Json) -> Option<Subject> {
        let text = |path: &[&str]| str_at(doc, path).map(String::from);
        match str_at(doc, &["kind"])? {
            "User" => Some(Subject::User(text(&["user", "name"])?)),
            "Group" => Some(Subject::Group(text(&["group", "name"])?)),
            "ServiceAccount" => Some(Subject::ServiceAccount(
                text(&["serviceAccount", "namespace"])?,
                text(&["serviceAccount", "name"])?,
            )),
            _ => None,
        }
    }
}

impl LevelSpec {
    fn read(name: &str, uid: &str, spec: &Json) -> LevelSpec {
        let exempt = str_at(spec, &["type"]) == Some("Exempt");
        let part = at(spec, &[if exempt { "exempt" } else { "limited" }]).unwrap_or(&Json::Null);
        let number = |doc: &Json, path: &[&str]| i64_at(doc, path).and_then(|number| u64::try_from(number).ok());
        let small =
            |path: &[&str]| number(part, path).and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
        let queueing = str_at(part, &["limitResponse", "type"]) == Some("Queue");
        LevelSpec {
            name: name.into(),
            uid: uid.to_string(),
            part: Part {
                shares: number(part, &["nominalConcurrencyShares"]).unwrap_or_default(),
                lendable: number(part, &["lendablePercent"]).unwrap_or_default(),
                borrowing: number(part, &["borrowingLimitPercent"]),
                exempt,
            },
            shape: match (exempt, queueing) {
                (true, _) => Shape::Exempt,
                (false, false) => Shape::Reject,
                (false, true) => Shape::Queue {
                    queues: small(&["limitResponse", "queuing", "queues"]),
                    hand: small(&["limitResponse", "queuing", "handSize"]),
                    length: small(&["limitResponse", "queuing", "queueLengthLimit"]),
                },
            },
        }
    }

    /// The mandatory ones, as upstream has them.
    pub(super) fn mandatory() -> [LevelSpec; 2] {
        let part = |shares, exempt| Part { shares, lendable: 0, borrowing: None, exempt };
        let level = |name: &str, part, shape| LevelSpec { name: name.into(), uid: String::new(), part, shape };
        [level(EXEMPT, part(0, true), Shape::Exempt), level(CATCH_ALL, part(5, false), Shape::Reject)]
    }
}

impl Project for StoredSchema {
    fn project(object: &Arc<Object>) -> StoredSchema {
        let doc = object.to_json();
        let spec = at(&doc, &["spec"]).unwrap_or(&Json::Null);
        let schema = Arc::new(Schema::read(&object.meta.name, &object.meta.uid, spec));
        let conditions = items_at(&doc, &["status", "conditions"]);
        let dangling = conditions.iter().find(|condition| str_at(condition, &["type"]) == Some(DANGLING));
        let told = dangling.map(|condition| {
            ["status", "reason", "message"].map(|field| str_at(condition, &[field]).unwrap_or_default().to_string())
        });
        StoredSchema { schema, told }
    }
}

impl Project for LevelSpec {
    fn project(object: &Arc<Object>) -> LevelSpec {
        let doc = object.to_json();
        LevelSpec::read(&object.meta.name, &object.meta.uid, at(&doc, &["spec"]).unwrap_or(&Json::Null))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A schema of these rules.
    pub(in crate::fairness) fn schema(
        name: &str,
        level: &str,
        precedence: i64,
        method: &str,
        rules: Json,
    ) -> Arc<Schema> {
        let spec = json!({
            "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence,
            "distinguisherMethod": { "type": method }, "rules": rules,
        });
        Arc::new(Schema::read(name, &format!("uid-{name}"), &spec))
    }

    /// A level of so many shares: with queues, or without.
    pub(in crate::fairness) fn level(name: &str, shares: u64, lendable: u64, queues: Option<[u32; 3]>) -> LevelSpec {
        let response = match queues {
            None => json!({ "type": "Reject" }),
            Some([queues, hand, length]) => json!({ "type": "Queue", "queuing": {
                "queues": queues, "handSize": hand, "queueLengthLimit": length } }),
        };
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response });
        LevelSpec::read(name, &format!("uid-{name}"), &json!({ "type": "Limited", "limited": limited }))
    }

    #[test]
    fn levels_are_read() {
        let queue = Shape::Queue { queues: 64, hand: 6, length: 50 };
        let part = Part { shares: 30, lendable: 33, borrowing: None, exempt: false };
        let system = level("system", 30, 33, Some([64, 6, 50]));
        assert_eq!((system.part, system.shape, system.uid.as_str()), (part, queue, "uid-system"));
        assert_eq!(
            level("catch-all", 5, 0, None),
            LevelSpec { uid: "uid-catch-all".into(), ..LevelSpec::mandatory()[1].clone() }
        );
        let exempt =
            LevelSpec::read("exempt", "", &json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0 } }));
        assert_eq!(exempt, LevelSpec::mandatory()[0]);
    }

    #[test]
    fn conditions_say_what_upstream_says() {
        let missing = Dangling::of("gold", false);
        let text = "This FlowSchema references the PriorityLevelConfiguration object named \"gold\" but there is no such object";
        assert_eq!((missing.status, missing.reason, missing.message.as_str()), ("True", "NotFound", text));
        assert!(!missing.is(None));
        assert!(missing.is(Some(&["True", "NotFound", text].map(String::from))));
        assert!(!Dangling::of("gold", true).is(Some(&["True", "NotFound", text].map(String::from))));
    }

    #[test]
    fn flows_of_schemas_have_numbers_of_their_own() {
        let [exempt, catch_all] = Schema::mandatory();
        assert_ne!(exempt.hash("a"), catch_all.hash("a"));
        assert_ne!(exempt.hash("a"), exempt.hash("b"));
        // SHA-256 of "exempt", a zero and "a", its first eight bytes as a little-endian number.
        let sum = Sha256::digest(b"exempt\0a");
        assert_eq!(exempt.hash("a"), u64::from_le_bytes(sum[..8].try_into().unwrap()));
    }
}
