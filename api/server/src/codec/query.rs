//! Query strings.

use crate::chain::request_info::percent_decode;
use holdfast_core::Status;

/// Decoded parameters, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`; `+` is a space.
    pub fn parse(text: Option<&str>) -> Query {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of `key`; the empty string counts as unset.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether `key` is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A boolean, as upstream reads it: `false` and `0` say no, anything else (even nothing) yes.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(!(value.eq_ignore_ascii_case("false") || value == "0"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 with the text of Go's parser.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(err) => {
                let why = match err.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                Err(Status::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("command=sh&command=-c&labelSelector=a%3Db%2Cc+in+(d)&watch=&x=0"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c"]);
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert_eq!((query.flag("watch"), query.flag("x"), query.flag("none")), (Some(true), Some(false), None));
        assert!(Query::parse(Some("limit=9x")).number("limit").unwrap_err().message().contains("parsing \"9x\""));
    }
}
