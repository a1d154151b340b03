//! What is wrong with an expression, and where, written as cel-go writes it.

use std::fmt;

/// A problem with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Line, from one.
    pub line: usize,
    /// Column in code points, from one.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line, for display.
    source_line: String,
}

/// Longest line that an issue shows.
const MAX_SHOWN: usize = 16_384;

impl Issue {
    /// At an offset in code points.
    pub(crate) fn at(source: &str, offset: u32, message: String) -> Issue {
        let (mut line, mut start, mut column) = (1, 0, 0);
        for (count, (at, c)) in source.char_indices().enumerate() {
            if count == offset as usize {
                break;
            }
            column += 1;
            if c == '\n' {
                (line, start, column) = (line + 1, at + 1, 0);
            }
        }
        let source_line = source[start..].split('\n').next().unwrap_or_default().to_string();
        Issue { line, column: column + 1, message, source_line }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR: <input>:{}:{}: {}", self.line, self.column, self.message)?;
        if self.source_line.len() > MAX_SHOWN {
            return Ok(());
        }
        // Wide characters get wide dots, so that the mark stands below its place.
        let mut marks = String::new();
        let mut chars = self.source_line.chars();
        for c in chars.by_ref().take(self.column - 1) {
            marks.push(if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' });
        }
        marks.push(if chars.next().is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
        write!(f, "\n | {}\n | {marks}", self.source_line.replace('\t', " "))
    }
}

/// The issues of one expression, in the order of their places.
pub(crate) struct Issues<'s> {
    source: &'s str,
    found: Vec<(u32, String)>,
}

impl<'s> Issues<'s> {
    pub(crate) fn of(source: &'s str) -> Self {
        Issues { source, found: Vec::new() }
    }

    /// Those of the parser.
    pub(crate) fn all(source: &'s str, wrong: Vec<(u32, String)>) -> Vec<Issue> {
        let mut issues = Issues::of(source);
        wrong.into_iter().for_each(|(offset, message)| issues.add(offset, message));
        issues.into_issues()
    }

    pub(crate) fn add(&mut self, offset: u32, message: impl Into<String>) {
        let message = message.into();
        if self.found.len() < crate::limits::MAX_ISSUES && !self.found.iter().any(|f| f.0 == offset && f.1 == message) {
            self.found.push((offset, message));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_issues(mut self) -> Vec<Issue> {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.into_iter().map(|(offset, message)| Issue::at(self.source, offset, message)).collect()
    }
}

/// Issues one below the other, as upstream shows them.
pub fn display(issues: &[Issue]) -> String {
    issues.iter().map(Issue::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_place() {
        let issue = Issue::at("self.a\n  && wörter", 16, "x".into());
        assert_eq!(issue.to_string(), "ERROR: <input>:2:10: x\n |   && wörter\n | ......．..^");
        assert_eq!(Issue::at("", 0, "y".into()).to_string(), "ERROR: <input>:1:1: y\n | \n | ^");
    }
}
