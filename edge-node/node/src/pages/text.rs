//! Prometheus' text format (version 0.0.4).

use std::fmt::{Display, Write};

/// A page of series.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family: its name, what sort of metric it is, and what it says.
    pub(super) fn family(&mut self, name: &str, sort: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {sort}");
    }

    /// A series of a family, with the time of its value in milliseconds since 1970, if it has one.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display, millis: Option<u128>) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = write!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
        if let Some(millis) = millis {
            let _ = write!(self.0, " {millis}");
        }
        self.0.push('\n');
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
