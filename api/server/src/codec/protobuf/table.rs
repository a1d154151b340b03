//! The tables of messages: names, numbers and types of fields. The text of a table is its own manual.

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
    /// Any value, as text.
    Yaml,
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
    /// Name in JSON, or a word of the table's language.
    pub(super) name: &'static str,
    pub(super) number: u64,
    pub(super) shape: Shape,
    pub(super) value: Type,
    /// Whether an empty value is one. Upstream's encoder writes fields that are not set, as empty.
    pub(super) keeps_zero: bool,
    /// Whether upstream's encoder writes the field even where it is not set.
    pub(super) stands: bool,
}

/// One part of a message as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Field(Field),
    /// A message whose fields stand in place of its own begins; its number.
    Open(u64),
    /// It ends.
    Close,
}

/// How a document becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Its entries are fields.
    Plain,
    /// All of it is the value of one field, by what sort of value it is.
    Union,
    /// All of it is the value of one field, by the entries that it has.
    Choice,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: Vec<Field>,
    pub(super) sort: Sort,
    /// Its parts by number, those of messages in place among them.
    pub(super) plan: Vec<Step>,
    /// Places in `plan` by the field's name, sorted.
    names: Vec<(&'static str, usize)>,
    /// Places of fields that take all entries with a prefix, the longest first.
    prefixes: Vec<(&'static str, usize)>,
}

/// All messages.
pub(super) struct Table {
    pub(super) messages: Vec<Message>,
    /// By `apiVersion/kind`.
    kinds: BTreeMap<&'static str, usize>,
    index: BTreeMap<&'static str, usize>,
}

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("table.txt")));

/// The field that a message in place is.
pub(super) const IN_PLACE: &str = "~";
/// The name of the fields of a message that is the value of one of them.
pub(super) const UNION: &str = "|";
/// What begins the names of fields that are chosen by entries of the document.
pub(super) const CHOICE: char = '?';

impl Table {
    /// The message of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<usize> {
        let own = format!("{api_version}/{kind}");
        self.kinds.get(own.as_str()).or_else(|| self.kinds.get(format!("*/{kind}").as_str())).copied()
    }

    /// The message of this name.
    pub(super) fn message(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The kinds that are described, as `apiVersion/kind`.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }

    /// Reads the text of a table.
    pub(super) fn parse(text: &'static str) -> Table {
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
        let fields: Vec<Vec<Field>> = messages().map(fields).collect();
        let messages = (0..fields.len()).map(|at| Message::of(at, &fields)).collect();
        Table { messages, kinds, index }
    }
}

impl Message {
    fn of(at: usize, all: &[Vec<Field>]) -> Message {
        let fields = all.get(at).cloned().unwrap_or_default();
        let sort = match fields.first().map(|field| field.name) {
            Some(UNION) => Sort::Union,
            Some(name) if name.starts_with(CHOICE) => Sort::Choice,
            _ => Sort::Plain,
        };
        let mut plan = Vec::new();
        add_steps(&fields, all, &mut plan);
        let named = || {
            plan.iter().enumerate().filter_map(|(at, step)| match step {
                Step::Field(field) => Some((field.name, at)),
                Step::Open(_) | Step::Close => None,
            })
        };
        let mut names: Vec<_> = named().collect();
        names.sort_unstable();
        let mut prefixes: Vec<_> = named().filter_map(|(name, at)| Some((name.strip_suffix('*')?, at))).collect();
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Message { fields, sort, plan, names, prefixes }
    }

    /// The place in the plan of the field that takes the entry `name`, and that field.
    pub(super) fn find(&self, name: &str) -> Option<(usize, Field)> {
        let own = self.names.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|found| self.names[found].1);
        let at =
            own.or_else(|| self.prefixes.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, at)| *at))?;
        match self.plan.get(at)? {
            Step::Field(field) => Some((at, *field)),
            Step::Open(_) | Step::Close => None,
        }
    }
}

fn add_steps(fields: &[Field], all: &[Vec<Field>], plan: &mut Vec<Step>) {
    let mut sorted = fields.to_vec();
    sorted.sort_by_key(|field| field.number);
    for field in sorted {
        match field.value {
            // Messages in place are structs that Go embeds, which cannot contain themselves.
            Type::Message(inner) if field.name == IN_PLACE => {
                plan.push(Step::Open(field.number));
                add_steps(all.get(inner).map_or(&[], Vec::as_slice), all, plan);
                plan.push(Step::Close);
            }
            _ => plan.push(Step::Field(field)),
        }
    }
}

impl Field {
    fn parse(text: &'static str, index: &BTreeMap<&str, usize>) -> Option<Field> {
        let (name, rest) = text.rsplit_once('=')?;
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
            "Y" => Type::Yaml,
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
        assert_eq!(TABLE.messages.iter().map(|message| message.fields.len()).sum::<usize>(), words);
        assert_eq!(TABLE.kinds.len(), text.lines().filter(|line| line.starts_with('@')).count());
        assert!(TABLE.kind("v1", "Pod").is_some() && TABLE.kind("apps/v1", "DeleteOptions").is_some());
    }

    #[test]
    fn entries_find_their_fields_also_in_messages_in_place() {
        let volume = &TABLE.messages[TABLE.message("core.Volume").unwrap()];
        assert_eq!(volume.find("name").unwrap().1.number, 1);
        let (at, secret) = volume.find("secret").unwrap();
        assert_eq!(secret.number, 6);
        assert!(matches!(volume.plan[..at], [Step::Field(_), Step::Open(2), ..]), "{:?}", volume.plan);
        assert!(volume.find("~").is_none() && volume.find("nothing").is_none());
    }
}
