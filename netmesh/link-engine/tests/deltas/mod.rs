//! Deltas, dictionaries and what goes first: by the bytes of the frames, which are the same in every run.

use crate::world::{HubView, NodeStore, Sent, World, body, frame};
use crate::{A, raw, world};
use bytes::Bytes;
use holdfast_core::{ContentHash, OutboxGen, Revision, Seq, Session, content_hash};
use holdfast_link_engine::dictionary::{NEWEST, dictionary};
use holdfast_link_engine::wire::{
    FactAck, FactBatch2, FactSort, ItemBody, ItemPut2, Payload, SyncApplied, SyncAsk, SyncBatch, SyncBatch2, SyncState,
    SyncUnfit, WireFact, encode,
};
use holdfast_link_engine::{HubInput, HubOutput, NodeInput, NodeOutput, Stream, limits};
use proptest::prelude::*;

const KEY: &str = "/v1/pods/retail/checkout-7c9d6f5b8d-x2lqp";
const SECOND: &str = "/v1/pods/retail/checkout-7c9d6f5b8d-k8vd7";

/// A pod of ten kilobytes as the hub projects it: two containers and one that goes before, with probes, environment,
/// volumes, resources and security contexts.
fn pod() -> String {
    let text = include_str!("pod.json").trim_end().to_string();
    assert!((9_500..10_500).contains(&text.len()), "{}", text.len());
    text
}

/// Another replica of it.
fn replica() -> String {
    pod()
        .replace("x2lqp", "k8vd7")
        .replace("e7b0a9c4-51f3-4c1d-a2d8-90c4f6b7e315", "19c4d2e8-7ab0-4be3-9d51-f60a7c28e94b")
        .replace("9wz4k", "tq6mz")
        .replace("08:22:01Z", "08:22:03Z")
}

fn ending(pod: &str) -> String {
    pod.replace("\"generation\":1", "\"generation\":2,\"deletionTimestamp\":\"2026-03-15T11:04:31Z\"")
}

impl World {
    /// Puts an object and brings it over; the batches that this took.
    fn change(&mut self, key: &str, body: impl Into<Bytes>) -> Vec<Sent> {
        self.batches.clear();
        self.hub.put(key, body.into());
        self.view_changed();
        self.run();
        self.assert_equal();
        assert!(self.node_closed.is_none(), "{:?}", self.node_closed);
        self.batches.clone()
    }
}

/// A world whose ends have talked, and have nothing.
fn connected() -> World {
    let mut world = world(1);
    world.run();
    world
}

#[test]
fn a_new_pod_of_ten_kilobytes_costs_two_at_most() {
    let sent = connected().change(KEY, pod());
    assert!(sent.len() == 1 && sent[0].bytes <= 2000, "{} bytes", sent[0].bytes);
}

#[test]
fn a_change_of_a_large_pod_costs_hundreds_of_bytes() {
    let mut world = connected();
    world.change(KEY, pod());
    let label = pod().replace("\"tier\":\"frontend\"", "\"tier\":\"frontend\",\"wave\":\"canary\"");
    let status = label.replace(
        "\"nodeName\":\"store-17\"}",
        "\"nodeName\":\"store-17\"},\"status\":{\"phase\":\"Failed\",\"reason\":\"Evicted\"}",
    );
    assert_ne!(label, status);
    for next in [label.clone(), ending(&label), status] {
        let sent = world.change(KEY, next);
        assert!(sent.len() == 1 && sent[0].deltas == 1 && sent[0].bytes <= 300, "{} bytes", sent[0].bytes);
    }
}

#[test]
fn a_second_replica_is_a_change_of_the_first() {
    let mut world = connected();
    world.change(KEY, pod());
    let sent = world.change(SECOND, replica());
    assert!(sent.len() == 1 && sent[0].deltas == 1 && sent[0].bytes <= 400, "{} bytes", sent[0].bytes);
    // Also within one batch.
    let mut both = self::world(2);
    both.hub.put(KEY, pod().into());
    both.hub.put(SECOND, replica().into());
    both.run();
    both.assert_equal();
    assert!(both.batches.len() == 1 && both.batches[0].bytes <= 2400, "{} bytes", both.batches[0].bytes);
}

#[test]
fn the_successor_of_a_pod_that_goes_is_a_change_of_it() {
    let mut world = connected();
    world.change(KEY, pod());
    world.hub.remove(KEY);
    let sent = world.change(SECOND, replica());
    assert!(sent.len() == 1 && sent[0].deltas == 1 && sent[0].drops.len() == 1, "{sent:?}");
}

#[test]
fn a_version_that_the_view_left_behind_while_a_batch_was_under_way_is_still_a_base() {
    let mut world = connected();
    world.change(KEY, pod());
    world.batches.clear();
    // The second version is under way; the third and the fourth come meanwhile.
    for n in 2..=4 {
        world.hub.put(KEY, pod().replace("\"generation\":1", &format!("\"generation\":{n}")).into());
        world.view_changed();
    }
    world.run();
    world.assert_equal();
    assert_eq!(world.batches.iter().map(|batch| batch.deltas).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn old_and_new_releases_understand_each_other() {
    for (old_node, old_hub) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut world = world(3);
        world.hello.version_max = if old_node { 1 } else { 2 };
        world.old_hub = old_hub;
        world.hub.put(KEY, pod().into());
        world.node.fact(1);
        world.reconnect();
        world.run();
        world.hub.put(KEY, ending(&pod()).into());
        world.hub.put(SECOND, replica().into());
        world.view_changed();
        world.run();
        world.assert_equal();
        assert!(world.node_closed.is_none(), "{:?}", world.node_closed);
        assert_eq!(world.hub.facts, [1]);
        let version = if old_node || old_hub { 1 } else { 2 };
        assert!(world.batches.iter().all(|batch| batch.version == version), "{:?}", world.batches);
        assert_eq!(world.facts_version, Some(version));
    }
}

#[test]
fn a_hub_that_chooses_what_was_not_offered_is_left() {
    let mut world = world(4);
    let welcome = holdfast_link_engine::wire::Welcome {
        version: 9,
        lineage: A,
        session: Session(1),
        time_micros: 0,
        heartbeat_ms: 1000,
        mark: Seq(0),
    };
    let now = world.now;
    let outputs = world.node_input(now, NodeInput::Frame(Stream::Control, frame(&encode(&welcome))));
    assert!(matches!(&outputs[..], [NodeOutput::Close { refused: false, .. }]), "{outputs:?}");
}

#[test]
fn a_node_that_has_lost_the_base_is_compared_anew_and_gets_it_whole() {
    // The object itself, its neighbour, or its body is not what the hub takes it for.
    for lost in 0..3 {
        let mut world = connected();
        world.change(KEY, pod());
        world.change("/v1/configmaps/retail/other", "{}");
        let frames = world.sync_from_hub.len();
        let sent = match lost {
            0 => {
                world.node.remove(KEY);
                world.change(KEY, ending(&pod()))
            }
            1 => {
                world.node.remove(KEY);
                world.change(SECOND, replica())
            }
            _ => {
                world.node.damage(KEY);
                world.change(KEY, ending(&pod()))
            }
        };
        let deltas: Vec<usize> = sent.iter().map(|batch| batch.deltas).collect();
        assert_eq!(deltas, [1, 0], "{lost}");
        assert_eq!(
            world.sync_from_hub[frames..],
            [SyncBatch2::KIND, SyncState::KIND, SyncAsk::KIND, SyncBatch2::KIND],
            "{lost}: three round trips more, and no fourth"
        );
        assert_eq!(world.in_sync, Some(world.hub.revision));
        // No more of them over this connection; the next one begins with good faith again.
        let sent = world.change(KEY, pod().replace("frontend", "backend"));
        assert_eq!(sent[0].deltas, 0);
        world.reconnect();
        world.run();
        let sent = world.change(KEY, pod().replace("frontend", "middle"));
        assert_eq!(sent[0].deltas, 1);
    }
}

#[test]
fn a_node_that_calls_whole_bodies_unfit_breaks_the_rules() {
    let mut world = connected();
    world.hub.put(KEY, pod().into());
    world.hold(Stream::Sync, SyncApplied::KIND);
    world.view_changed();
    world.run();
    let now = world.now;
    for unfit in [SyncUnfit { id: 1, root: 0 }, SyncUnfit { id: 99, root: 0 }] {
        let mut link = world.hub_link.clone();
        let input = HubInput::Frame(Stream::Sync, frame(&encode(&unfit)));
        let outputs = link.handle(now, 0, input, &world.hub);
        assert!(matches!(&outputs[..], [HubOutput::Close(_)]), "{outputs:?}");
    }
}

fn put(key: &str, hash: ContentHash, body: ItemBody) -> ItemPut2 {
    ItemPut2 { key: key.into(), hash, revision: Revision(1), body }
}

fn take(world: &mut World, puts: Vec<ItemPut2>) -> Vec<NodeOutput> {
    let batch = SyncBatch2 { id: 1, revision: Revision(20), puts, drops: vec![], complete: true };
    let now = world.now;
    world.node_input(now, NodeInput::Frame(Stream::Sync, frame(&encode(&batch))))
}

/// Compressed over a base, as the engine does it.
fn packed(base: &[u8], body: &[u8]) -> Bytes {
    let mut context = zstd::zstd_safe::CCtx::create();
    context.ref_prefix(base).unwrap();
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(body.len()));
    context.compress2(&mut out, body).unwrap();
    out.into()
}

#[test]
fn hostile_bodies_are_not_taken() {
    let closes = |outputs: Vec<NodeOutput>| matches!(&outputs[..], [NodeOutput::Close { refused: false, .. }]);
    let whole = |number: u32, body: &[u8]| {
        let data = packed(dictionary(number).unwrap_or_default(), body);
        put(KEY, content_hash(body), ItemBody::Zstd { dictionary: number, data })
    };
    assert!(matches!(&take(&mut connected(), vec![whole(0, b"x"), whole(NEWEST, b"x")])[..], [NodeOutput::Persist(_)]));
    assert!(closes(take(&mut connected(), vec![whole(NEWEST + 1, b"x")])), "a dictionary that there is not");
    let bomb = vec![b' '; limits::MAX_FRAME_BYTES + 1];
    assert!(closes(take(&mut connected(), vec![whole(0, &bomb)])), "a bomb");
    let large = vec![b' '; limits::MAX_FRAME_BYTES - 1];
    assert!(closes(take(&mut connected(), vec![whole(0, &large), whole(0, &large)])), "many large ones");
    let mut wrong = whole(0, b"x");
    wrong.hash.0 ^= 1;
    assert!(closes(take(&mut connected(), vec![wrong])), "another hash");
    let mut old = connected();
    old.hello.version_max = 1;
    old.reconnect();
    old.run();
    assert!(closes(take(&mut old, vec![whole(0, b"x")])), "before its time");
}

#[test]
fn a_delta_that_leads_to_nothing_is_answered_as_unfit() {
    let unfit = |outputs: Vec<NodeOutput>| match &outputs[..] {
        [NodeOutput::Send(Stream::Sync, data)] => frame(data).decode::<SyncUnfit>().is_ok_and(|unfit| unfit.id == 1),
        _ => false,
    };
    let delta = |base_key: &str, base: &[u8], body: &[u8]| {
        let base_key = base_key.to_string();
        put(
            KEY,
            content_hash(body),
            ItemBody::Delta { base_key, base_hash: content_hash(base), data: packed(base, body) },
        )
    };
    let mut world = connected();
    world.change(KEY, &b"the first version"[..]);
    assert!(unfit(take(&mut world, vec![delta("", b"another version", b"the second version")])));
    assert!(unfit(take(&mut world, vec![delta(SECOND, b"the first version", b"the second version")])));
    let mut wrong = delta("", b"the first version", b"the second version");
    wrong.hash.0 ^= 1;
    assert!(unfit(take(&mut world, vec![wrong])));
    let bomb = vec![b' '; limits::MAX_FRAME_BYTES + 1];
    assert!(unfit(take(&mut world, vec![delta("", b"the first version", &bomb)])));
    // The largest base there can be; in the same batch, and only what stands before it.
    let base: Bytes = body(9, limits::MAX_FRAME_BYTES - 1000);
    let next = [&base[..1000], b"and more"].concat();
    world.change(SECOND, base.clone());
    assert!(matches!(&take(&mut world, vec![delta(SECOND, &base, &next)])[..], [NodeOutput::Persist(_)]));
    let mut world = connected();
    let first = put(SECOND, content_hash(b"one"), ItemBody::Zstd { dictionary: 0, data: packed(&[], b"one") });
    let second = delta(SECOND, b"one", b"one and two");
    assert!(unfit(take(&mut world, vec![second.clone(), first.clone()])));
    assert!(matches!(&take(&mut world, vec![first, second])[..], [NodeOutput::Persist(_)]));
}

#[test]
fn what_is_urgent_goes_before_bulk() {
    let mut world = connected();
    world.change(KEY, pod());
    world.batches.clear();
    for n in 0..6 {
        world.hub.put(&format!("/v1/configmaps/retail/{n}"), body(n, 60 << 10));
    }
    world.view_changed();
    // The first of the bulk is under way when the pod is deleted and another comes.
    world.hub.put(KEY, ending(&pod()).into());
    world.hub.put(SECOND, replica().into());
    world.hub.put("/v1/secrets/retail/small", body(7, 100));
    world.view_changed();
    world.run();
    world.assert_equal();
    let batches: Vec<&[String]> = world.batches.iter().map(|batch| &batch.keys[..]).collect();
    assert_eq!(batches[0], ["/v1/configmaps/retail/0"]);
    assert_eq!(batches[1], [KEY, "/v1/secrets/retail/small", SECOND]);
    assert_eq!(batches.len(), 7);
    for batch in &world.batches {
        assert!(batch.bytes <= limits::BATCH_WIRE_BYTES, "{} bytes", batch.bytes);
    }
}

#[test]
fn a_pod_comes_with_or_after_what_it_needs() {
    let mut world = self::world(5);
    let secret = |n: u64| format!("/v1/secrets/ns/{n}");
    for n in 0..12 {
        world.hub.put(&format!("/v1/pods/ns/{n}"), body(n, 1000));
        let size = if n % 3 == 0 { 200 } else { (40 << 10) + (n << 10) };
        world.hub.put(&secret(n), body(n + 100, size as usize));
        world.hub.needs.insert(format!("/v1/pods/ns/{n}"), vec![secret(n), "/v1/secrets/ns/none".into()]);
    }
    world.hub.put("/v1/configmaps/ns/unneeded", body(200, 300 << 10));
    world.run();
    world.assert_equal();
    let batches = &world.batches;
    assert!(batches.len() > 8, "{}", batches.len());
    assert!(batches[..batches.len() - 1].iter().all(|batch| !batch.complete));
    assert!(batches.last().unwrap().complete);
    let keys: Vec<&str> = batches.iter().flat_map(|batch| batch.keys.iter().map(String::as_str)).collect();
    let at = |key: &str| keys.iter().position(|sent| *sent == key).unwrap();
    for n in 0..12 {
        assert!(at(&secret(n)) < at(&format!("/v1/pods/ns/{n}")), "{n}: {keys:?}");
    }
    let small: Vec<&str> = keys[..8].iter().map(|key| key.rsplit('/').next().unwrap()).collect();
    assert_eq!(small, ["0", "3", "6", "9", "0", "3", "6", "9"], "small pods with theirs before bulk: {keys:?}");
    assert_eq!(keys.last(), Some(&"/v1/configmaps/ns/unneeded"));
}

#[test]
fn what_a_pods_old_version_needs_goes_with_it() {
    let mut world = connected();
    world.hub.put("/v1/secrets/ns/old", body(1, 100));
    world.hub.put("/v1/pods/ns/a", body(2, 1000));
    world.change("/v1/pods/ns/gone", body(3, 1000));
    // The pod is replaced by one of its name that needs something large.
    world.batches.clear();
    world.hub.remove("/v1/secrets/ns/old");
    world.hub.remove("/v1/pods/ns/gone");
    world.hub.put("/v1/secrets/ns/new", body(4, 80 << 10));
    world.hub.put("/v1/pods/ns/a", body(5, 1000));
    world.hub.needs.insert("/v1/pods/ns/a".into(), vec!["/v1/secrets/ns/new".into()]);
    world.view_changed();
    world.run();
    world.assert_equal();
    let sent: Vec<(&[String], Vec<&str>)> = world
        .batches
        .iter()
        .map(|batch| (&batch.keys[..], batch.drops.iter().map(|drop| drop.key.as_str()).collect()))
        .collect();
    assert_eq!(sent[0], (&["/v1/secrets/ns/new".to_string()][..], vec!["/v1/pods/ns/gone"]));
    assert_eq!(sent[1], (&["/v1/pods/ns/a".to_string()][..], vec!["/v1/secrets/ns/old"]));
    assert_eq!(sent.len(), 2);
}

#[test]
fn facts_are_compressed_together() {
    let status = |ready: &str| {
        format!(
            r#"{{"uid":"e7b0a9c4-51f3-4c1d-a2d8-90c4f6b7e315","status":{{"conditions":[{{"lastTransitionTime":"2026-03-14T08:22:09Z","observedGeneration":1,"status":"True","type":"PodReadyToStartContainers"}},{{"lastTransitionTime":"2026-03-14T08:22:09Z","observedGeneration":1,"status":"True","type":"Initialized"}},{{"lastTransitionTime":"2026-03-14T08:22:31Z","observedGeneration":1,"status":"{ready}","type":"Ready"}},{{"lastTransitionTime":"2026-03-14T08:22:31Z","observedGeneration":1,"status":"{ready}","type":"ContainersReady"}},{{"lastTransitionTime":"2026-03-14T08:22:02Z","observedGeneration":1,"status":"True","type":"PodScheduled"}}],"containerStatuses":[{{"containerID":"containerd://b7d02f5a91c64e38","image":"registry.retail.example/pos/checkout:4.18.2","imageID":"sha256:1f0d5b7a94c3e2f68d017b3ac95e40f2d6b81c7a3950ef42d8136cb7f09a2e54","lastState":{{}},"name":"checkout","ready":true,"restartCount":0,"started":true,"state":{{"running":{{"startedAt":"2026-03-14T08:22:11Z"}}}}}}],"hostIP":"10.20.17.4","hostIPs":[{{"ip":"10.20.17.4"}}],"observedGeneration":1,"phase":"Running","podIP":"10.42.17.8","podIPs":[{{"ip":"10.42.17.8"}}],"qosClass":"Burstable","startTime":"2026-03-14T08:22:02Z"}}}}"#
        )
    };
    let event = |n: u32, reason: &str, message: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Event","metadata":{{"name":"checkout-7c9d6f5b8d-x2lqp.5b1d09c2f4a7e3{n:02}","namespace":"retail"}},"involvedObject":{{"kind":"Pod","apiVersion":"v1","namespace":"retail","name":"checkout-7c9d6f5b8d-x2lqp","uid":"e7b0a9c4-51f3-4c1d-a2d8-90c4f6b7e315","fieldPath":"spec.containers{{checkout}}"}},"type":"Normal","reason":"{reason}","message":"{message}","source":{{"component":"kubelet","host":"store-17"}},"reportingComponent":"kubelet","reportingInstance":"store-17","firstTimestamp":"2026-03-14T08:22:11Z","lastTimestamp":"2026-03-14T08:22:11Z","count":1}}"#
        )
    };
    let sent = |bodies: Vec<String>| {
        let mut world = connected();
        for (n, body) in bodies.iter().enumerate() {
            world.node.fact_of(n as u64 + 1, body.clone().into());
        }
        world.facts_changed();
        world.run();
        assert_eq!(world.hub.facts.len(), bodies.len());
        (bodies.iter().map(String::len).sum::<usize>(), world.last_facts.unwrap().len())
    };
    let (raw, wire) = sent(vec![status("True")]);
    assert!(raw > 1100 && wire <= 350, "{raw} bytes as {wire}");
    let started = event(2, "Started", "Started container checkout");
    let (raw, wire) = sent(vec![event(1, "Created", "Created container: checkout"), started, status("True")]);
    assert!(raw > 2000 && wire <= 550, "{raw} bytes as {wire}");
}

#[test]
fn hostile_facts_are_not_taken() {
    let facts = |count: usize, size: usize| -> Vec<WireFact> {
        let fact = |n| WireFact {
            seq: Seq(n as u64 + 1),
            sort: FactSort::Log,
            key: String::new(),
            body: vec![b' '; size].into(),
        };
        (0..count).map(fact).collect()
    };
    let batch = |number: u32, facts: &[WireFact]| {
        let plain = postcard::to_stdvec(facts).unwrap();
        let data = packed(dictionary(number).unwrap_or_default(), &plain);
        FactBatch2 { session: Session(1), outbox: OutboxGen(0xF00D), dictionary: number, data }
    };
    let take = |batch: &FactBatch2| {
        let mut world = connected();
        let now = world.now;
        world.hub_input(now, HubInput::Frame(Stream::Facts, frame(&encode(batch))))
    };
    let good = batch(NEWEST, &facts(3, 10));
    assert!(matches!(&take(&good)[..], [HubOutput::Facts(_, facts)] if facts.len() == 3));
    let closes = |batch: &FactBatch2| matches!(&take(batch)[..], [HubOutput::Close(_)]);
    assert!(closes(&batch(NEWEST + 1, &facts(3, 10))), "a dictionary that there is not");
    assert!(closes(&batch(0, &facts(1, limits::MAX_FRAME_BYTES))), "a bomb");
    assert!(closes(&batch(0, &facts(limits::MAX_FACTS + 1, 0))), "too many");
    assert!(closes(&FactBatch2 { data: packed(&[], b"\xFF\xFF"), dictionary: 0, ..good.clone() }), "no facts");
    assert!(closes(&FactBatch2 { data: Bytes::from_static(b"?"), ..good }), "not compressed");
}

#[test]
fn frames_of_version_two_have_no_place_before_it() {
    for (stream, kind) in [(Stream::Facts, FactBatch2::KIND), (Stream::Sync, SyncUnfit::KIND)] {
        let mut world = world(6);
        world.old_hub = true;
        world.reconnect();
        world.run();
        let now = world.now;
        let outputs = world.hub_input(now, HubInput::Frame(stream, raw(kind, &[0; 8])));
        assert!(matches!(&outputs[..], [HubOutput::Close(_)]), "{outputs:?}");
    }
    assert_eq!(
        [SyncBatch::KIND, SyncBatch2::KIND, SyncUnfit::KIND, FactBatch2::KIND, FactAck::KIND],
        [24, 26, 27, 32, 31]
    );
}

/// Versions of objects that are like each other, as of one kind of object.
fn version(object: u8, version: u8) -> Bytes {
    let lines = (0..20u8).map(|line| {
        let changed = if line == version % 20 { version } else { 0 };
        format!("object {object} has in line {line} the value {changed}\n")
    });
    lines.collect::<String>().into()
}

fn apply(world: &mut World, changes: &[(u8, u8)]) {
    for (object, at_hub) in changes {
        let group = if object % 3 == 0 { "pods" } else { "configmaps" };
        let key = format!("/v1/{group}/ns/{object}");
        if *at_hub == 0 { world.hub.remove(&key) } else { world.hub.put(&key, version(*object, *at_hub)) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_and_losses_converge(
        rounds in proptest::collection::vec((proptest::collection::vec((0..20u8, 0..40u8), 0..12), any::<bool>(), 0..30u8, 0..3u8), 1..8),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed, NodeStore::default(), HubView::new(A));
        for (changes, steps, lost, how) in rounds {
            apply(&mut world, &changes);
            world.view_changed();
            if steps {
                // More changes come while batches are under way.
                world.step();
                apply(&mut world, &changes.iter().map(|(object, at)| (*object, at / 2)).collect::<Vec<_>>());
                world.view_changed();
            }
            world.run();
            world.assert_equal();
            prop_assert!(world.node_closed.is_none());
            let group = if lost % 3 == 0 { "pods" } else { "configmaps" };
            let key = format!("/v1/{group}/ns/{lost}");
            match how {
                // Behind the hub's back; what is not changed again is found by the next comparison.
                0 if world.node.has(&key) => world.node.damage(&key),
                1 => {
                    world.reconnect();
                    world.run();
                }
                _ => {}
            }
        }
    }
}
