//! All levels together, sans-IO: finds a request's flow schema and level, shares the server's seats out, and shifts them to
//! where they are wanted.

use super::config::{CATCH_ALL, EXEMPT, LevelSpec, Schema};
use super::demand::Seen;
use super::limits::WIDEST_SHARE;
use super::matching::Asked;
use super::queues::{Arriving, Id, Queues, Shape};
use super::shares::{Limits, Wish, shift};
use super::stats::Refused;
use super::width::{Load, Width};
use holdfast_env::Mono;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A level in use.
pub(super) struct Level {
    /// As configured.
    pub(super) spec: LevelSpec,
    /// Whether it is none any more, and only drains.
    pub(super) quiescing: bool,
    /// Its requests.
    pub(super) queues: Queues,
    /// Its seats by configuration.
    pub(super) limits: Limits,
    /// Its demand of late.
    pub(super) seen: Seen,
    /// The seats that it would like.
    pub(super) target: f64,
}

/// A request that was let in, or waits.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// Its number.
    pub(super) id: Id,
    level: Arc<str>,
}

/// What became of a request.
pub(super) struct Arrived {
    /// Its schema.
    pub(super) schema: Arc<Schema>,
    /// The UID of its level; empty for a mandatory one that is not stored.
    pub(super) level_uid: String,
    /// Its ticket, and whether it was let in; or why neither.
    pub(super) outcome: Result<(Ticket, bool), Refused>,
}

/// Levels and schemas.
pub(super) struct Engine {
    /// Seats of the server.
    total: u64,
    /// In the order in which they are tried; the mandatory ones are always there, and every level that they name.
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<Arc<str>, Level>,
    next: Id,
    fair: f64,
}

impl Engine {
    /// An engine with the mandatory configuration.
    pub(super) fn new(now: Mono, total: u64) -> Engine {
        let mut engine = Engine { total, schemas: Vec::new(), levels: BTreeMap::new(), next: 0, fair: 0.0 };
        engine.configure(now, &[], &[], &mut Vec::new());
        engine
    }

    /// A request comes.
    pub(super) fn arrive(&mut self, now: Mono, asked: &Asked<'_>, load: Load, out: &mut Vec<Id>) -> Option<Arrived> {
        let schema = self.schema_of(asked)?.clone();
        let level = self.levels.get_mut(&schema.level)?;
        let width = Width::of(load, level.widest());
        let (flow, hash) = match level.spec.shape {
            Shape::Queue { queues, .. } if queues > 1 => {
                let flow = schema.flow(asked);
                (flow.to_string(), schema.hash(flow))
            }
            _ => (String::new(), 0),
        };
        self.next += 1;
        let id = self.next;
        let request = Arriving { id, schema: schema.name.clone(), flow, hash, width };
        let outcome = level.queues.arrive(now, request, out);
        let ticket = Ticket { id, level: schema.level.clone() };
        let level_uid = level.spec.uid.clone();
        Some(Arrived { schema, level_uid, outcome: outcome.map(|serves| (ticket, serves)) })
    }

    /// A request is over, or not wanted any more: whether it still waited.
    pub(super) fn leave(&mut self, now: Mono, ticket: &Ticket, out: &mut Vec<Id>) -> bool {
        self.levels.get_mut(&ticket.level).is_some_and(|level| level.queues.leave(now, ticket.id, out))
    }

    /// Whether a request waits.
    pub(super) fn waits(&self, ticket: &Ticket) -> bool {
        self.levels.get(&ticket.level).is_some_and(|level| level.queues.waits(ticket.id))
    }

    /// Gives back seats whose time has come.
    pub(super) fn advance(&mut self, now: Mono, out: &mut Vec<Id>) {
        self.levels.values_mut().for_each(|level| level.queues.advance(now, out));
    }

    /// When seats come back for which somebody waits.
    pub(super) fn next_release(&self) -> Option<Mono> {
        self.levels.values().filter_map(|level| level.queues.next_release()).min()
    }

    /// Other schemas and levels. Schemas whose level is missing are left out; a level that is none any more drains.
    pub(super) fn configure(&mut self, now: Mono, schemas: &[Arc<Schema>], levels: &[LevelSpec], out: &mut Vec<Id>) {
        let specs: BTreeMap<&Arc<str>, &LevelSpec> = levels.iter().map(|spec| (&spec.name, spec)).collect();
        self.schemas = schemas.iter().filter(|schema| specs.contains_key(&schema.level)).cloned().collect();
        self.schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let [exempt, catch_all] = Schema::mandatory();
        if !self.schemas.iter().any(|schema| &*schema.name == EXEMPT) {
            self.schemas.insert(0, Arc::new(exempt));
        }
        if !self.schemas.iter().any(|schema| &*schema.name == CATCH_ALL) {
            self.schemas.push(Arc::new(catch_all));
        }
        for (name, level) in &mut self.levels {
            // What is mandatory stays as it was.
            level.quiescing = !specs.contains_key(name) && ![EXEMPT, CATCH_ALL].contains(&&**name);
        }
        let missing = LevelSpec::mandatory().into_iter().filter(|spec| !self.levels.contains_key(&spec.name));
        let imagined: Vec<LevelSpec> = missing.filter(|spec| !specs.contains_key(&spec.name)).collect();
        for spec in imagined.iter().chain(specs.into_values()) {
            match self.levels.get_mut(&spec.name) {
                Some(level) => level.spec = spec.clone(),
                None => {
                    let level = Level {
                        spec: spec.clone(),
                        quiescing: false,
                        // How many seats it has is said below.
                        queues: Queues::new(now, spec.shape, 0),
                        limits: Limits::default(),
                        seen: Seen::default(),
                        target: 0.0,
                    };
                    self.levels.insert(spec.name.clone(), level);
                }
            }
        }
        let names: Vec<Arc<str>> = self.schemas.iter().map(|schema| schema.name.clone()).collect();
        for level in self.levels.values_mut() {
            level.queues.forget_flows(|schema| names.iter().any(|name| **name == *schema));
        }
        self.share(now, out);
    }

    /// Shares the seats out anew, and shifts them.
    fn share(&mut self, now: Mono, out: &mut Vec<Id>) {
        self.levels.retain(|_, level| !(level.quiescing && level.queues.is_idle()));
        let shares = self.levels.values().map(|level| level.spec.part.shares).sum();
        for level in self.levels.values_mut() {
            level.limits = Limits::of(level.spec.part, self.total, shares);
        }
        self.shift(now, out);
    }

    /// Shifts seats to where they are wanted. To be called every so often.
    pub(super) fn adjust(&mut self, now: Mono, out: &mut Vec<Id>) {
        match self.levels.values().any(|level| level.quiescing && level.queues.is_idle()) {
            true => self.share(now, out),
            false => self.shift(now, out),
        }
    }

    fn shift(&mut self, now: Mono, out: &mut Vec<Id>) {
        let mut wishes = Vec::with_capacity(self.levels.len());
        for level in self.levels.values_mut() {
            let (demand, wanted) = level.queues.demand(now, out);
            level.seen.period(demand, wanted);
            let wish = Wish { limits: level.limits, exempt: level.spec.part.exempt, seen: level.seen };
            level.target = wish.target();
            wishes.push(wish);
        }
        let (seats, fair) = shift(&wishes);
        self.fair = fair;
        for (level, seats) in self.levels.values_mut().zip(seats) {
            level.queues.configure(now, level.spec.shape, seats, out);
        }
    }

    /// The part of its target that each level got that met no bound.
    pub(super) fn fair(&self) -> f64 {
        self.fair
    }

    /// The levels by name.
    pub(super) fn levels(&self) -> impl Iterator<Item = (&Arc<str>, &Level)> {
        self.levels.iter()
    }

    /// The first schema that is about a request; users without any group meet none, and are taken for all others.
    fn schema_of(&self, asked: &Asked<'_>) -> Option<&Arc<Schema>> {
        let found = self.schemas.iter().find(|schema| schema.matches(asked));
        found.or_else(|| self.schemas.iter().find(|schema| &*schema.name == CATCH_ALL))
    }
}

impl Level {
    /// The seats that one request takes at most; 0 where the level does not say.
    fn widest(&self) -> u64 {
        let Shape::Queue { hand, .. } = self.spec.shape else { return 0 };
        let nominal = self.limits.nominal;
        let share = (nominal as f64 * WIDEST_SHARE).ceil() as u64;
        share.min(nominal / u64::from(hand.max(1))).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::{level, schema};
    use super::super::matching::What;
    use super::*;
    use holdfast_core::UserInfo;
    use holdfast_core::user::MASTERS;
    use serde_json::json;
    use std::time::Duration;

    fn of_user(name: &str, level: &str, precedence: i64, user: &str) -> Arc<Schema> {
        let rules = json!([{
            "subjects": [{ "kind": "User", "user": { "name": user } }],
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"] }],
        }]);
        schema(name, level, precedence, "ByUser", rules)
    }

    struct Hub {
        engine: Engine,
        now: Mono,
    }

    impl Hub {
        fn new(total: u64) -> Hub {
            Hub { engine: Engine::new(Mono::default(), total), now: Mono::default() }
        }

        fn configure(&mut self, schemas: &[Arc<Schema>], levels: &[LevelSpec]) -> Vec<Id> {
            let mut out = Vec::new();
            self.engine.configure(self.now, schemas, levels, &mut out);
            out
        }

        fn arrive(&mut self, user: &UserInfo) -> Arrived {
            let what = What::Resource { group: "", resource: "pods".into(), namespace: "a" };
            let asked = Asked { user, verb: "get", what };
            self.engine.arrive(self.now, &asked, Load::One, &mut Vec::new()).unwrap()
        }

        fn serves(&mut self, user: &str) -> bool {
            self.arrive(&UserInfo::new(user, &[])).outcome.is_ok_and(|(_, serves)| serves)
        }

        fn leave(&mut self, ticket: &Ticket) -> Vec<Id> {
            let mut out = Vec::new();
            self.engine.leave(self.now, ticket, &mut out);
            out
        }

        fn pass(&mut self) -> Vec<Id> {
            self.now = self.now.after(Duration::from_secs(10));
            let mut out = Vec::new();
            self.engine.adjust(self.now, &mut out);
            out
        }

        fn limit(&self, level: &str) -> u64 {
            self.engine.levels[level].queues.limit()
        }
    }

    #[test]
    fn the_mandatory_levels_are_in_force_without_objects() {
        let mut hub = Hub::new(10);
        let arrived = hub.arrive(&UserInfo::new("admin", &[MASTERS]));
        assert_eq!((&*arrived.schema.name, arrived.level_uid.as_str()), (EXEMPT, ""));
        let arrived = hub.arrive(&UserInfo::new("bob", &[]));
        assert_eq!(&*arrived.schema.name, CATCH_ALL);
        // Who is in no group at all meets no schema.
        let arrived = hub.arrive(&UserInfo::default());
        assert_eq!(&*arrived.schema.name, CATCH_ALL);
        assert!((0..8).all(|_| hub.serves("bob")));
        assert!(!hub.serves("bob"));
    }

    #[test]
    fn the_lowest_precedence_counts_and_names_break_ties() {
        let mut hub = Hub::new(100);
        let levels = [level("gold", 10, 0, None), level("silver", 10, 0, None)];
        let schemas = [
            of_user("c", "gold", 500, "bob"),
            of_user("b", "silver", 500, "bob"),
            of_user("a", "gold", 600, "bob"),
            of_user("dangling", "none", 400, "bob"),
        ];
        hub.configure(&schemas, &levels);
        let arrived = hub.arrive(&UserInfo::new("bob", &[]));
        assert_eq!((&*arrived.schema.name, arrived.level_uid.as_str()), ("b", "uid-silver"));
        assert_eq!(&*hub.arrive(&UserInfo::new("eve", &[])).schema.name, CATCH_ALL);
    }

    #[test]
    fn a_flood_in_one_level_leaves_another_alone() {
        let mut hub = Hub::new(20);
        let levels = [level("gold", 10, 0, Some([16, 2, 4])), level("silver", 10, 0, Some([16, 2, 4]))];
        hub.configure(&[of_user("g", "gold", 500, "bob"), of_user("s", "silver", 500, "eve")], &levels);
        while hub.arrive(&UserInfo::new("bob", &[])).outcome.is_ok() {}
        assert!(hub.serves("eve"));
    }

    #[test]
    fn seats_that_nobody_uses_are_lent_and_come_back() {
        let mut hub = Hub::new(20);
        let levels = [level("gold", 10, 50, Some([16, 2, 50])), level("silver", 10, 50, Some([16, 2, 50]))];
        hub.configure(&[of_user("g", "gold", 500, "bob"), of_user("s", "silver", 500, "eve")], &levels);
        // Nobody wants anything yet: what the lower bounds leave is divided.
        assert_eq!((hub.limit("gold"), hub.limit("silver"), hub.limit(CATCH_ALL)), (7, 7, 7));
        let bob = UserInfo::new("bob", &[]);
        let tickets: Vec<Ticket> = (0..40).map(|_| hub.arrive(&bob).outcome.unwrap().0).collect();
        let more = hub.pass();
        assert!(!more.is_empty() && hub.limit("gold") > 8, "{}", hub.limit("gold"));
        assert_eq!(hub.limit("silver"), 4, "it keeps what it does not lend");
        // Silver wants its own again: it has it after the next shift.
        let eve = UserInfo::new("eve", &[]);
        (0..20).for_each(|_| drop(hub.arrive(&eve)));
        hub.pass();
        assert_eq!(hub.limit("silver"), 8);
        tickets.iter().for_each(|ticket| drop(hub.leave(ticket)));
    }

    #[test]
    fn a_level_that_was_deleted_drains() {
        let mut hub = Hub::new(20);
        let gold = [level("gold", 1, 0, Some([16, 2, 4]))];
        hub.configure(&[of_user("g", "gold", 500, "bob")], &gold);
        let bob = UserInfo::new("bob", &[]);
        let mut tickets = Vec::new();
        let waits = loop {
            let (ticket, serves) = hub.arrive(&bob).outcome.unwrap();
            if !serves {
                break ticket;
            }
            tickets.push(ticket);
        };
        assert!(hub.engine.waits(&waits) && !hub.engine.waits(&tickets[0]));
        hub.configure(&[], &[]);
        assert_eq!(&*hub.arrive(&bob).schema.name, CATCH_ALL);
        assert!(hub.engine.levels.contains_key("gold"));
        let served: Vec<Id> = tickets.iter().flat_map(|ticket| hub.leave(ticket)).collect();
        assert_eq!(served, [waits.id]);
        hub.leave(&waits);
        hub.pass();
        assert!(!hub.engine.levels.contains_key("gold"));
        assert!(hub.leave(&waits).is_empty(), "what is gone is left alone");
    }

    #[test]
    fn wide_requests_are_bounded_by_their_level() {
        let mut hub = Hub::new(600);
        hub.configure(&[], &[level("gold", 30, 0, Some([64, 6, 50])), level("small", 5, 0, Some([64, 6, 50]))]);
        assert_eq!(hub.engine.levels["gold"].limits.nominal, 450);
        assert_eq!([68, 12], ["gold", "small"].map(|name| hub.engine.levels[name].widest()));
        assert_eq!(hub.engine.levels[CATCH_ALL].widest(), 0);
    }
}
