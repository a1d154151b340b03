//! Where a page of a list ended. Opaque to clients: base64 of a small JSON document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::{Lineage, Revision, Status};
use serde::{Deserialize, Serialize};

/// The position after a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContinueToken {
    /// Version of the form.
    v: u8,
    /// The revision that the list shows.
    rv: u64,
    /// The last key that was looked at, without the prefix of the list.
    after: String,
    /// The history that the revision counts in.
    lineage: String,
}

impl ContinueToken {
    pub(crate) fn new(revision: Revision, after: &str, lineage: Lineage) -> ContinueToken {
        ContinueToken { v: 1, rv: revision.0, after: after.to_string(), lineage: lineage.to_string() }
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The revision to read at, and the key to begin after.
    ///
    /// # Errors
    /// 400 when the text is no token of ours, 410 when it is of another history.
    pub(crate) fn decode(text: &str, lineage: Lineage) -> Result<(Revision, String), Status> {
        let bad = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|err| bad(err.to_string()))?;
        let token: ContinueToken = serde_json::from_slice(&bytes).map_err(|err| bad(err.to_string()))?;
        if token.v != 1 {
            return Err(bad(format!("unknown version {}", token.v)));
        }
        if token.lineage != lineage.to_string() {
            return Err(expired());
        }
        Ok((Revision(token.rv), token.after))
    }
}

/// 410 with upstream's text.
pub(crate) fn expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You must start a new list \
         without the continue parameter.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked() {
        let token = ContinueToken::new(Revision(7), "default/a", Lineage(3)).encode();
        assert_eq!(ContinueToken::decode(&token, Lineage(3)), Ok((Revision(7), "default/a".to_string())));
        assert_eq!(ContinueToken::decode(&token, Lineage(4)).unwrap_err().code(), 410);
        for bad in ["%", "e30", "bm9wZQ"] {
            let status = ContinueToken::decode(bad, Lineage(3)).unwrap_err();
            assert!(status.code() == 400 && status.message().starts_with("continue key is not valid"), "{status}");
        }
    }
}
