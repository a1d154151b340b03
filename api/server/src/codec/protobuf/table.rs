//! The table of messages: names, numbers and types of fields.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Bool,
    Integer,
    Float,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    RawExtension,
    FieldsV1,
    Texts,
    Message(usize),
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Name in JSON; `~` when the fields of the message stand in place of the field.
    pub(super) name: &'static str,
    pub(super) number: u64,
    pub(super) shape: Shape,
    pub(super) value: Type,
    /// Whether an empty value is one. Upstream's encoder writes fields that are not set, as empty.
    pub(super) keeps_zero: bool,
    /// Whether upstream's encoder writes the field even where it is not set.
    pub(super) stands: bool,
}

/// All messages.
pub(super) struct Table {
    pub(super) messages: Vec<Vec<Field>>,
    /// By `apiVersion/kind`.
    kinds: BTreeMap<&'static str, usize>,
}

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("table.txt")));

impl Table {
    /// The message of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<usize> {
        let own = format!("{api_version}/{kind}");
        self.kinds.get(own.as_str()).or_else(|| self.kinds.get(format!("*/{kind}").as_str())).copied()
    }

    fn parse(text: &'static str) -> Table {
        let lines = || text.lines().filter(|line| !line.starts_with('#'));
        let messages = || lines().filter(|line| !line.starts_with('@'));
        let name = |line: &'static str| line.split(' ').next().unwrap_or_default();
        let index: BTreeMap<&str, usize> = messages().enumerate().map(|(at, line)| (name(line), at)).collect();
        let kinds = lines()
            .filter_map(|line| line.strip_prefix('@')?.split_once(' '))
            .filter_map(|(kind, message)| Some((kind, *index.get(message)?)))
            .collect();
        let fields =
            |line: &'static str| line.split(' ').skip(1).filter_map(|field| Field::parse(field, &index)).collect();
        Table { messages: messages().map(fields).collect(), kinds }
    }
}

impl Field {
    fn parse(text: &'static str, index: &BTreeMap<&str, usize>) -> Option<Field> {
        let (name, rest) = text.split_once('=')?;
        let (number, mut value) = rest.split_once(':')?;
        let shape = if let Some(rest) = value.strip_prefix("[]") {
            value = rest;
            Shape::List
        } else if let Some(rest) = value.strip_prefix("{}") {
            value = rest;
            Shape::Map
        } else {
            Shape::One
        };
        let starred = value.starts_with('*');
        let value = value.trim_start_matches('*');
        let held = value.starts_with('!');
        let value = match value.trim_start_matches('!') {
            "s" => Type::Text,
            "b" => Type::Bool,
            "i" => Type::Integer,
            "f" => Type::Float,
            "y" => Type::Bytes,
            "T" => Type::Time,
            "M" => Type::MicroTime,
            "Q" => Type::Quantity,
            "I" => Type::IntOrString,
            "R" => Type::RawExtension,
            "F" => Type::FieldsV1,
            "X" => Type::Texts,
            message => Type::Message(*index.get(message)?),
        };
        let scalar = matches!(value, Type::Text | Type::Bool | Type::Integer | Type::Float);
        let keeps_zero = starred || shape != Shape::One;
        let stands = held || (scalar && !keeps_zero);
        Some(Field { name, number: number.parse().ok()?, shape, value, keeps_zero, stands })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        let text = include_str!("table.txt");
        let lines = text.lines().filter(|line| !line.starts_with(['#', '@']));
        let words: usize = lines.map(|line| line.split(' ').count() - 1).sum();
        assert_eq!(TABLE.messages.iter().map(Vec::len).sum::<usize>(), words);
        assert_eq!(TABLE.kinds.len(), text.lines().filter(|line| line.starts_with('@')).count());
        assert!(TABLE.kind("v1", "Pod").is_some() && TABLE.kind("apps/v1", "DeleteOptions").is_some());
    }
}
