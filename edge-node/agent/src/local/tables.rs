//! Tables on the terminal, aligned as kubectl aligns them.

use holdfast_core::Timestamp;
use holdfast_link::traffic::Bytes;
use holdfast_node::commands::{HeartbeatSummary, NodeSummary};
use holdfast_node::drill::DrillReport;
use holdfast_node::pods::PodSummary;
use serde_json::Value;
use std::collections::BTreeMap;

/// NAMESPACE NAME STATUS RESTARTS IP AGE.
pub(crate) fn pods(pods: &[PodSummary]) -> String {
    let now = now();
    let mut rows = vec![["NAMESPACE", "NAME", "STATUS", "RESTARTS", "IP", "AGE"].map(str::to_string)];
    rows.extend(pods.iter().map(|pod| {
        let ip = if pod.ip.is_empty() { "<none>".to_string() } else { pod.ip.clone() };
        [
            pod.namespace.clone(),
            pod.name.clone(),
            pod.status.clone(),
            pod.restarts.to_string(),
            ip,
            age(now, pod.created),
        ]
    }));
    aligned(&rows)
}

/// NAMESPACE, then the columns of `kubectl events`.
pub(crate) fn events(events: &[Value]) -> String {
    let now = now();
    let mut rows = vec![["NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(str::to_string)];
    rows.extend(events.iter().map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let involved = &event["involvedObject"];
        [
            text(&event["metadata"]["namespace"]),
            age(now, event["lastTimestamp"].as_str().and_then(Timestamp::parse)),
            text(&event["type"]),
            text(&event["reason"]),
            format!("{}/{}", text(&involved["kind"]), text(&involved["name"])),
            // A message may hold what a container wrote: it stays on its line and steers no terminal.
            text(&event["message"]).trim().replace(char::is_control, " "),
        ]
    }));
    aligned(&rows)
}

/// How the node and its link are.
pub(crate) fn status(node: &NodeSummary) -> String {
    let link = match (node.connected, node.drill) {
        (true, _) => format!("up over {}", node.transport),
        (false, true) => "down (a drill cuts it)".to_string(),
        (false, false) => format!("down ({})", node.link_error),
    };
    let contact = match (node.last_contact, node.silent_seconds) {
        (Some(at), Some(seconds)) => format!("{at} ({} ago)", short(seconds)),
        _ => "none since the start".to_string(),
    };
    let certificate = node.certificate_ends.map_or_else(|| "unknown".to_string(), |at| format!("until {at}"));
    let offline = match node.offline_ready {
        Some(true) => "ready".to_string(),
        Some(false) => "not ready".to_string(),
        None => "not known yet".to_string(),
    };
    let mut lines = vec![
        format!("node:         {} ({})", node.name, node.uid),
        format!("link:         {link}, session {}", node.session),
    ];
    lines.extend(node.heartbeat.as_ref().map(heartbeat));
    lines.extend([
        format!("last contact: {contact}"),
        format!("objects:      {} at revision {}", node.items, node.synced_to.1),
        format!("outbox:       {} facts wait for the hub", node.backlog),
        format!("certificate:  {certificate}"),
        format!("written:      {} bytes in {} syncs since the start", node.written.0, node.written.1),
    ]);
    if !node.disk_trouble.is_empty() {
        lines.push(format!("disk:         takes no writes: {}", node.disk_trouble));
    }
    lines.extend(node.written_by_purpose.iter().map(|(purpose, written)| {
        let (bytes, syncs) = (written.bytes_a_day, written.syncs_a_day);
        format!("              {purpose}: {bytes} bytes and {syncs} syncs a day")
    }));
    lines.extend(traffic(&node.traffic));
    lines.extend(node.pulls.iter().map(|pull| {
        let (image, here, total) = (&pull.image, pull.here_bytes, pull.total_bytes);
        format!("pulling:      {image}: {here} of {total} bytes, for {}", short(pull.seconds))
    }));
    lines.push(format!("offline:      {offline}"));
    lines.extend(node.offline_reasons.iter().map(|reason| format!("              {reason}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// How heartbeats go.
fn heartbeat(beat: &HeartbeatSummary) -> String {
    let seconds = |millis: u64| millis as f64 / 1000.0;
    let mut line = format!("heartbeat:    every {}s", seconds(beat.interval_ms));
    if let Some(lost) = beat.lost_ms {
        line += &format!(" (the network forgets this node after {}s of silence)", seconds(lost));
    }
    if let Some(micros) = beat.round_trip_micros {
        line += &format!(", answered in {} ms", micros as f64 / 1000.0);
    }
    line
}

/// Bytes of the link by purpose, those that there were.
fn traffic(totals: &BTreeMap<String, Bytes>) -> Vec<String> {
    let used = totals.iter().filter(|(_, bytes)| bytes.sent + bytes.received > 0);
    let sum = totals.values().fold((0, 0), |sum, bytes| (sum.0 + bytes.sent, sum.1 + bytes.received));
    let mut lines = vec![format!("link bytes:   {} sent, {} received since the start", sum.0, sum.1)];
    lines.extend(
        used.map(|(name, bytes)| format!("              {name}: {} sent, {} received", bytes.sent, bytes.received)),
    );
    lines
}

/// What a drill found.
pub(crate) fn drill(report: &DrillReport) -> String {
    let early = if report.offline_seconds < report.asked_seconds { ", ended early" } else { "" };
    let mut lines = vec![format!("The link was cut for {}s{early}; {} pods.", report.offline_seconds, report.pods)];
    if !report.was_connected {
        lines.push("It was down before, so the hub may have been away for longer.".into());
    }
    if report.would_not_come_back.is_empty() {
        lines.push("All would have come back after a reboot.".into());
    } else {
        lines.push("Would not have come back after a reboot:".into());
        lines.extend(report.would_not_come_back.iter().map(|reason| format!("  {reason}")));
    }
    if report.troubles.is_empty() {
        lines.push("No pod had trouble meanwhile.".into());
    } else {
        lines.push("Had trouble meanwhile:".into());
        lines.extend(report.troubles.iter().map(|trouble| {
            let end = if trouble.recovered { "recovered" } else { "not recovered" };
            let (pod, status, after) = (&trouble.pod, &trouble.status, trouble.after_seconds);
            format!("  {pod}: {status} after {after}s, {} restarts, {end}", trouble.restarts)
        }));
    }
    lines.push(format!("{} facts wait for the hub.", report.backlog));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn now() -> Timestamp {
    Timestamp::from_wall(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

fn age(now: Timestamp, since: Option<Timestamp>) -> String {
    since.map_or_else(|| "<unknown>".to_string(), |since| short(now.since(since).as_secs()))
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn short(secs: u64) -> String {
    match secs {
        0..=119 => format!("{secs}s"),
        120..=7199 => format!("{}m", secs / 60),
        7200..=172_799 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_node::drill::Trouble;
    use serde_json::json;

    #[test]
    fn pods_are_shown_in_columns() {
        let pod = PodSummary {
            namespace: "demo".into(),
            name: "web-1".into(),
            status: "Running".into(),
            ip: "10.42.0.2".into(),
            ..PodSummary::default()
        };
        assert_eq!(
            pods(&[pod]),
            "NAMESPACE   NAME    STATUS    RESTARTS   IP          AGE\ndemo        web-1   Running   0          10.42.0.2   <unknown>\n"
        );
    }

    #[test]
    fn the_status_says_what_a_cut_node_knows() {
        let node = NodeSummary {
            name: "edge-1".into(),
            uid: "u".into(),
            session: 4,
            link_error: "timed out".into(),
            items: 12,
            synced_to: ("0".into(), 77),
            written: (4096, 3),
            disk_trouble: "journal/1.log: write failed: Read-only file system".into(),
            backlog: 5,
            last_contact: Some(Timestamp::from_secs(0)),
            silent_seconds: Some(300),
            certificate_ends: Some(Timestamp::from_secs(86_400)),
            offline_ready: Some(false),
            offline_reasons: vec!["pod demo/a: volume \"v\" is not on this node".into()],
            ..NodeSummary::default()
        };
        assert_eq!(
            status(&node),
            "node:         edge-1 (u)
link:         down (timed out), session 4
last contact: 1970-01-01T00:00:00Z (5m ago)
objects:      12 at revision 77
outbox:       5 facts wait for the hub
certificate:  until 1970-01-02T00:00:00Z
written:      4096 bytes in 3 syncs since the start
disk:         takes no writes: journal/1.log: write failed: Read-only file system
link bytes:   0 sent, 0 received since the start
offline:      not ready
              pod demo/a: volume \"v\" is not on this node
"
        );
        let beat = HeartbeatSummary {
            interval_ms: 24_500,
            lost_ms: Some(31_000),
            round_trip_micros: Some(1500),
            ..HeartbeatSummary::default()
        };
        let traffic = [("facts", 3, 0), ("sync", 0, 0), ("heartbeat", 20, 22)];
        let linked = NodeSummary {
            connected: true,
            transport: "tcp".into(),
            session: 5,
            heartbeat: Some(beat),
            traffic: traffic.map(|(name, sent, received)| (name.into(), Bytes { sent, received })).into(),
            ..node
        };
        for part in [
            "
link:         up over tcp, session 5
heartbeat:    every 24.5s (the network forgets this node after 31s of silence), answered in 1.5 ms
last contact: ",
            "
link bytes:   23 sent, 22 received since the start
              facts: 3 sent, 0 received
              heartbeat: 20 sent, 22 received
offline: ",
        ] {
            assert!(status(&linked).contains(part), "{}", status(&linked));
        }
    }

    #[test]
    fn a_drill_tells_what_it_found() {
        let trouble =
            Trouble { pod: "demo/a".into(), after_seconds: 9, status: "Error".into(), restarts: 1, recovered: true };
        let report = DrillReport {
            asked_seconds: 60,
            offline_seconds: 20,
            was_connected: true,
            pods: 2,
            would_not_come_back: vec!["pod demo/b: volume \"v\" is not on this node".into()],
            troubles: vec![trouble],
            backlog: 7,
            ..DrillReport::default()
        };
        assert_eq!(
            drill(&report),
            "The link was cut for 20s, ended early; 2 pods.
Would not have come back after a reboot:
  pod demo/b: volume \"v\" is not on this node
Had trouble meanwhile:
  demo/a: Error after 9s, 1 restarts, recovered
7 facts wait for the hub.
"
        );
    }

    #[test]
    fn events_are_shown_in_columns_each_on_one_line() {
        let event = json!({
            "metadata": {"namespace": "demo"}, "type": "Warning", "reason": "BackOff", "message": "a\nb\u{1b}[2J\n",
            "involvedObject": {"kind": "Pod", "name": "web-1"},
        });
        assert_eq!(
            events(&[event]),
            "NAMESPACE   LAST SEEN   TYPE      REASON    OBJECT      MESSAGE\ndemo        <unknown>   Warning   BackOff   Pod/web-1   a b [2J\n"
        );
    }
}
