//! Tables on the terminal, aligned as kubectl aligns them.

use holdfast_core::Timestamp;
use holdfast_node::pods::PodSummary;
use serde_json::Value;

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
