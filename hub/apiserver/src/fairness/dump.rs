//! What is in the queues, as tables for people: `/debug/api_priority_and_fairness/dump_priority_levels`, `dump_queues` and
//! `dump_requests`, with upstream's columns. Queues that nobody uses are not there.

use super::engine::Engine;
use super::queues::Held;
use super::width::{Work, work};
use holdfast_core::Timestamp;
use holdfast_env::{Mono, Wall};
use std::time::Duration;

const LEVELS: &[&str] = &[
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: &[&str] = &[
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: &[&str] = &[
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];

/// A table by the last part of its path; the clocks say what time it was when requests came.
pub(super) fn page(engine: &Engine, name: &str, clocks: (Mono, Wall)) -> Option<String> {
    let rows = match name {
        "dump_priority_levels" => levels(engine),
        "dump_queues" => queues(engine),
        "dump_requests" => requests(engine, clocks),
        _ => return None,
    };
    Some(table(&rows))
}

fn head(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_string()).collect()
}

fn levels(engine: &Engine) -> Vec<Vec<String>> {
    let mut rows = vec![head(LEVELS)];
    for (name, level) in engine.levels() {
        let active = level.queues.queues().filter(|(_, queue)| !queue.waiting.is_empty()).count();
        let (waiting, served) = level.queues.counts();
        let (mut dispatched, mut refused, mut timed_out) = (0, 0, 0);
        for flow in level.queues.flows().values() {
            dispatched += flow.dispatched;
            for (why, count) in &flow.refused {
                refused += count;
                timed_out += if *why == super::stats::Refused::TimedOut { *count } else { 0 };
            }
        }
        rows.push(vec![
            name.to_string(),
            active.to_string(),
            level.queues.is_idle().to_string(),
            level.quiescing.to_string(),
            waiting.to_string(),
            served.to_string(),
            dispatched.to_string(),
            refused.to_string(),
            // As upstream, which counts both as the latter.
            "0".to_string(),
            timed_out.to_string(),
        ]);
    }
    rows
}

fn queues(engine: &Engine) -> Vec<Vec<String>> {
    let mut rows = vec![head(QUEUES)];
    for (name, level) in engine.levels() {
        for (index, queue) in level.queues.queues() {
            let ((served, seats), (first, most, waiting)) = (queue.served, queue.sums);
            rows.push(vec![
                name.to_string(),
                index.to_string(),
                queue.waiting.len().to_string(),
                served.to_string(),
                seats.to_string(),
                seat_seconds(queue.next_r),
                first.to_string(),
                most.to_string(),
                seat_seconds(waiting),
            ]);
        }
    }
    rows
}

fn requests(engine: &Engine, (mono, wall): (Mono, Wall)) -> Vec<Vec<String>> {
    let time = |at: Mono| Timestamp::from_wall(wall.0.saturating_sub(mono.since(at))).to_string();
    let mut rows = vec![head(REQUESTS)];
    for (name, level) in engine.levels() {
        for (held, place) in level.queues.requests() {
            let Held { schema, flow, queue, width, arrived, started, .. } = held;
            let number = |number: Option<String>| number.unwrap_or_else(|| "-1".to_string());
            rows.push(vec![
                name.to_string(),
                schema.to_string(),
                number(queue.map(|index| index.to_string())),
                number(place.map(|place| place.to_string())),
                flow.clone(),
                time(*arrived),
                width.first.to_string(),
                width.last.to_string(),
                if width.lasting.is_zero() { "0s".to_string() } else { format!("{:?}", width.lasting) },
                started.map_or_else(|| "0001-01-01T00:00:00Z".to_string(), time),
            ]);
        }
    }
    rows
}

fn seat_seconds(of: Work) -> String {
    let second = work(1, Duration::from_secs(1));
    let part = work(1, Duration::from_nanos(10));
    format!("{}.{:08}ss", of / second, of.rem_euclid(second) / part)
}

/// Cells behind commas, in columns.
fn table(rows: &[Vec<String>]) -> String {
    const NARROWEST: usize = 8;
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count() + 2).max();
        widest.unwrap_or_default().max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match index + 1 == columns {
                true => out.push_str(cell),
                false => {
                    let cell = format!("{cell},");
                    out.push_str(&format!("{cell:<width$}"));
                }
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::{level, schema};
    use super::super::matching::{Asked, What};
    use super::super::width::Load;
    use super::*;
    use holdfast_core::UserInfo;
    use serde_json::json;

    #[test]
    fn tables_show_levels_queues_and_requests() {
        let rules = json!([{
            "subjects": [{ "kind": "Group", "group": { "name": "*" } }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
        }]);
        let mut engine = Engine::new(Mono::default(), 2);
        let gold = level("gold", 5, 0, Some([2, 1, 50]));
        engine.configure(Mono::default(), &[schema("s", "gold", 100, "ByUser", rules)], &[gold], &mut Vec::new());
        let bob = UserInfo::new("bob", &[]);
        for _ in 0..2 {
            let asked = Asked { user: &bob, verb: "get", what: What::Path("/version") };
            engine.arrive(Mono::default(), &asked, Load::One, &mut Vec::new());
        }
        let clocks = (Mono::default(), Wall(Duration::from_secs(1_800_000_000)));
        let lines =
            |name: &str| -> Vec<String> { page(&engine, name, clocks).unwrap().lines().map(String::from).collect() };
        let levels = lines("dump_priority_levels");
        assert!(levels[0].starts_with("PriorityLevelName, ActiveQueues, IsIdle, "), "{}", levels[0]);
        let cells = |line: &str| -> Vec<String> { line.split(',').map(|cell| cell.trim().to_string()).collect() };
        assert_eq!(cells(&levels[3]), ["gold", "1", "false", "false", "1", "1", "1", "0", "0", "0"]);
        let queues = lines("dump_queues");
        assert_eq!(queues.len(), 2);
        assert_eq!(cells(&queues[1])[2..], ["1", "1", "1", "0.00300000ss", "1", "1", "0.00300000ss"]);
        let requests = lines("dump_requests");
        assert_eq!(requests.len(), 3);
        assert!(
            requests[1].contains("s,") && requests[1].contains("bob,") && requests[1].contains("2027-01-15T08:00:00")
        );
        assert!(requests[2].ends_with("0001-01-01T00:00:00Z"), "{}", requests[2]);
        assert_eq!(page(&engine, "dump_else", clocks), None);
    }
}
