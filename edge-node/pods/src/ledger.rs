//! Who holds how much of the node's CPU and memory, and whether a pod may have more: the kubelet's rules and texts.

use crate::qos::qos_class;
use crate::spec::{self, Role};
use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The node cannot do it now.
pub const DEFERRED: &str = "Deferred";
/// The node can never do it.
pub const INFEASIBLE: &str = "Infeasible";

/// CPU in thousandths and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// CPU, thousandths.
    pub cpu_milli: i64,
    /// Memory, bytes.
    pub memory_bytes: i64,
}

impl Needs {
    fn each(self, other: Needs, of: fn(i64, i64) -> i64) -> Needs {
        Needs {
            cpu_milli: of(self.cpu_milli, other.cpu_milli),
            memory_bytes: of(self.memory_bytes, other.memory_bytes),
        }
    }

    fn plus(self, other: Needs) -> Needs {
        self.each(other, i64::saturating_add)
    }

    fn minus(self, other: Needs) -> Needs {
        self.each(other, i64::saturating_sub)
    }

    /// The larger of each.
    pub fn or_more(self, other: Needs) -> Needs {
        self.each(other, i64::max)
    }
}

/// A resource of a list in the API's words, CPU in thousandths.
fn amount(list: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>, name: &str) -> i64 {
    let quantity = list.and_then(|list| list.get(name)?.0.parse::<Quantity>().ok());
    quantity.map_or(0, |quantity| if name == "cpu" { quantity.milli() } else { quantity.units() })
}

/// What a pod takes from its node (upstream's `PodRequests`).
pub fn requests(pod: &Pod) -> Needs {
    let of = |list: Option<&_>| Needs { cpu_milli: amount(list, "cpu"), memory_bytes: amount(list, "memory") };
    let (mut total, mut sidecars, mut start) = (Needs::default(), Needs::default(), Needs::default());
    for (role, container) in spec::containers(pod) {
        let own = of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        match role {
            Role::Sidecar => {
                sidecars = sidecars.plus(own);
                start = start.or_more(sidecars);
            }
            Role::Init => start = start.or_more(own.plus(sidecars)),
            Role::App | Role::Ephemeral => total = total.plus(own),
        }
    }
    total = total.plus(sidecars).or_more(start);
    let Some(spec) = &pod.spec else { return total };
    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let own = of(Some(list));
        total.cpu_milli = if list.contains_key("cpu") { own.cpu_milli } else { total.cpu_milli };
        total.memory_bytes = if list.contains_key("memory") { own.memory_bytes } else { total.memory_bytes };
    }
    total.plus(of(spec.overhead.as_ref()))
}

/// What a pod wants, and how it stands among those that want something too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// All that it would take.
    pub needs: Needs,
    /// `spec.priority`
    pub priority: i32,
    /// Its class is `Guaranteed`.
    pub guaranteed: bool,
}

impl Ask {
    /// What the pod as it is written wants.
    pub fn of(pod: &Pod) -> Ask {
        Ask {
            needs: requests(pod),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
            guaranteed: qos_class(pod) == "Guaranteed",
        }
    }
}

/// A pod that was told to wait.
#[derive(Clone, Debug)]
struct Waiting {
    ask: Ask,
    /// Counts those that were told to wait.
    turn: u64,
}

/// The node's account.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    allocatable: Needs,
    held: BTreeMap<String, (Needs, bool)>,
    waiting: BTreeMap<String, Waiting>,
    turns: u64,
}

impl Ledger {
    /// For a node of which pods may take so much.
    pub fn new(allocatable: Needs) -> Ledger {
        Ledger { allocatable, ..Ledger::default() }
    }

    /// A pod takes so much from now on; whether others may have more now. `burstable` says its class.
    pub fn hold(&mut self, uid: &str, needs: Needs, burstable: bool) -> bool {
        let before = self.held.insert(uid.to_string(), (needs, burstable));
        before.is_some_and(|(before, _)| before.cpu_milli > needs.cpu_milli || before.memory_bytes > needs.memory_bytes)
    }

    /// A pod takes nothing any more; whether others may have more now.
    pub fn release(&mut self, uid: &str) -> bool {
        let waited = self.waiting.remove(uid).is_some();
        self.held.remove(uid).is_some() || waited
    }

    /// CPU of the pods whose class is `Burstable`, in thousandths.
    pub fn burstable_cpu(&self) -> i64 {
        let burstable = self.held.values().filter(|(_, burstable)| *burstable);
        burstable.map(|(needs, _)| needs.cpu_milli).fold(0, i64::saturating_add)
    }

    /// Whether a pod may have what it asks for; if so it holds that, beside what it held. Who has waited longer, or is of more
    /// weight, comes first.
    ///
    /// # Errors
    /// [`DEFERRED`] or [`INFEASIBLE`], and upstream's text.
    pub fn ask(&mut self, uid: &str, ask: Ask) -> Result<(), (&'static str, String)> {
        let (all, wanted) = (self.allocatable, ask.needs);
        let too_much = [("memory", wanted.memory_bytes, all.memory_bytes), ("cpu", wanted.cpu_milli, all.cpu_milli)];
        if let Some((name, wanted, all)) = too_much.into_iter().find(|(_, wanted, all)| wanted > all) {
            self.waiting.remove(uid);
            let text = format!("Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {all}");
            return Err((INFEASIBLE, text));
        }
        let (own, burstable) = self.held.get(uid).copied().unwrap_or_default();
        let others = self.others(uid, &ask);
        let checks = [
            ("cpu", wanted.cpu_milli, own.cpu_milli, others.cpu_milli, all.cpu_milli),
            ("memory", wanted.memory_bytes, own.memory_bytes, others.memory_bytes, all.memory_bytes),
        ];
        for (name, wanted, own, used, all) in checks {
            // What a pod has already, it may keep.
            if wanted > own && wanted.saturating_add(used) > all {
                let turn = self.waiting.get(uid).map_or(self.turns, |before| before.turn);
                self.turns = self.turns.saturating_add(1);
                self.waiting.insert(uid.to_string(), Waiting { ask, turn });
                let text = format!(
                    "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {all}"
                );
                return Err((DEFERRED, text));
            }
        }
        self.waiting.remove(uid);
        self.held.insert(uid.to_string(), (own.or_more(wanted), burstable));
        Ok(())
    }

    /// What other pods hold, with what those that come first would get now.
    fn others(&self, uid: &str, ask: &Ask) -> Needs {
        let held = self.held.iter().filter(|(other, _)| *other != uid);
        let mut used = held.fold(Needs::default(), |sum, (_, (needs, _))| sum.plus(*needs));
        let rank = |ask: &Ask, turn: u64| (Reverse(ask.priority), !ask.guaranteed, turn);
        let own = rank(ask, self.waiting.get(uid).map_or(u64::MAX, |waiting| waiting.turn));
        let mut first: Vec<(&String, &Waiting)> = self.waiting.iter().filter(|(other, _)| *other != uid).collect();
        first.retain(|(_, waiting)| rank(&waiting.ask, waiting.turn) < own);
        first.sort_by_key(|(_, waiting)| rank(&waiting.ask, waiting.turn));
        for (other, waiting) in first {
            let has = self.held.get(other).map_or(Needs::default(), |(needs, _)| *needs);
            let more = waiting.ask.needs.or_more(has).minus(has);
            let then = used.plus(more);
            if then.cpu_milli <= self.allocatable.cpu_milli && then.memory_bytes <= self.allocatable.memory_bytes {
                used = then;
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed;
    use serde_json::json;

    const GIB: i64 = 1 << 30;

    fn needs(cpu_milli: i64, gib: i64) -> Needs {
        Needs { cpu_milli, memory_bytes: gib * GIB }
    }

    fn ask(cpu_milli: i64, gib: i64, priority: i32) -> Ask {
        Ask { needs: needs(cpu_milli, gib), priority, guaranteed: false }
    }

    #[test]
    fn what_a_pod_takes_is_counted_as_the_scheduler_does() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let spec = json!({
            "containers": [{"name": "a", "resources": cpu("100m")}, {"name": "b", "resources": cpu("200m")}],
            "initContainers": [
                {"name": "s", "resources": cpu("50m"), "restartPolicy": "Always"},
                {"name": "i", "resources": cpu("400m")},
            ],
            "overhead": {"cpu": "10m", "memory": "1Gi"},
        });
        let pod = |spec: &serde_json::Value| typed::pod(json!({"metadata": {}, "spec": spec})).unwrap();
        assert_eq!(requests(&pod(&spec)), needs(460, 1));
        let mut all = spec;
        all["resources"] = json!({"requests": {"cpu": "2", "memory": "3Gi"}});
        assert_eq!(requests(&pod(&all)), needs(2010, 4));
    }

    #[test]
    fn more_is_granted_where_there_is_room() {
        let mut ledger = Ledger::new(needs(2000, 4));
        assert!(!ledger.hold("a", needs(500, 1), true));
        assert!(!ledger.hold("b", needs(1000, 1), false));
        assert_eq!(ledger.burstable_cpu(), 500);
        let text = "Node didn't have enough capacity: memory, requested: 5368709120, capacity: 4294967296";
        assert_eq!(ledger.ask("a", ask(5000, 5, 0)), Err((INFEASIBLE, text.into())));
        let text = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 2000";
        assert_eq!(ledger.ask("a", ask(5000, 1, 0)), Err((INFEASIBLE, text.into())));
        let text = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!(ledger.ask("a", ask(1500, 1, 0)), Err((DEFERRED, text.into())));
        assert_eq!(ledger.ask("a", ask(1000, 3, 0)), Ok(()));
        // What was granted counts at once, and what is given back only when it is.
        assert!(ledger.ask("b", ask(1001, 1, 0)).is_err());
        assert_eq!(ledger.ask("a", ask(100, 1, 0)), Ok(()));
        assert!(ledger.ask("b", ask(1001, 1, 0)).is_err());
        assert!(ledger.hold("a", needs(100, 1), true));
        assert_eq!(ledger.ask("b", ask(1001, 1, 0)), Ok(()));
        assert!(ledger.release("b") && !ledger.release("b"));
    }

    #[test]
    fn a_node_that_is_too_full_takes_nothing_away() {
        let mut ledger = Ledger::new(needs(1000, 1));
        ledger.hold("a", needs(800, 1), true);
        ledger.hold("b", needs(800, 1), true);
        assert_eq!(ledger.ask("a", ask(700, 1, 0)), Ok(()));
        assert!(ledger.ask("a", ask(801, 1, 0)).is_err());
    }

    #[test]
    fn who_waits_is_served_by_weight_and_then_by_turn() {
        let mut ledger = Ledger::new(needs(1000, 1));
        for uid in ["full", "early", "late", "weighty", "vast"] {
            ledger.hold(uid, needs(if uid == "full" { 600 } else { 100 }, 0), true);
        }
        for (uid, priority) in [("early", 0), ("late", 0), ("weighty", 7)] {
            assert_eq!(ledger.ask(uid, ask(400, 0, priority)).unwrap_err().0, DEFERRED, "{uid}");
        }
        // What would not fit even then keeps nobody waiting.
        assert_eq!(ledger.ask("vast", ask(1000, 0, 9)).unwrap_err().0, DEFERRED);
        ledger.hold("full", needs(300, 0), true);
        for uid in ["late", "early"] {
            assert_eq!(ledger.ask(uid, ask(400, 0, 0)).unwrap_err().0, DEFERRED, "{uid}");
        }
        assert_eq!(ledger.ask("weighty", ask(400, 0, 7)), Ok(()));
        assert!(ledger.release("full"));
        assert_eq!(ledger.ask("late", ask(400, 0, 0)).unwrap_err().0, DEFERRED);
        assert_eq!(ledger.ask("early", ask(400, 0, 0)), Ok(()));
    }
}
