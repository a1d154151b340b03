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
    /// The revision that the list shows; none for the newest, in a token that follows an expired one.
    rv: Option<u64>,
    /// The last key that was looked at, without the prefix of the list.
    after: String,
    /// The history that the revision counts in.
    lineage: String,
}

impl ContinueToken {
    pub(crate) fn new(revision: Revision, after: &str, lineage: Lineage) -> ContinueToken {
        ContinueToken::of(Some(revision), after, lineage)
    }

    fn of(revision: Option<Revision>, after: &str, lineage: Lineage) -> ContinueToken {
        let rv = revision.map(|revision| revision.0);
        ContinueToken { v: 1, rv, after: after.to_string(), lineage: lineage.to_string() }
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The revision to read at (none for the newest), and the key to begin after.
    ///
    /// # Errors
    /// 400 when the text is no token of ours, 410 when it is of another history.
    pub(crate) fn decode(text: &str, lineage: Lineage) -> Result<(Option<Revision>, String), Status> {
        let bad =
            |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|err| bad(err.to_string()))?;
        let token: ContinueToken = serde_json::from_slice(&bytes).map_err(|err| bad(err.to_string()))?;
        if token.v != 1 {
            return Err(bad(format!("unknown version {}", token.v)));
        }
        if token.rv.is_some() && token.lineage != lineage.to_string() {
            return Err(expired(&token.after, lineage));
        }
        Ok((token.rv.map(Revision), token.after))
    }
}

/// 410 with upstream's text, and a token that goes on behind `after` with what is there by then.
pub(crate) fn expired(after: &str, lineage: Lineage) -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
    .with_continue(ContinueToken::of(None, after, lineage).encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked() {
        let token = ContinueToken::new(Revision(7), "default/a", Lineage(3)).encode();
        assert_eq!(ContinueToken::decode(&token, Lineage(3)), Ok((Some(Revision(7)), "default/a".to_string())));
        let status = ContinueToken::decode(&token, Lineage(4)).unwrap_err();
        assert_eq!(status.code(), 410);
        // What follows an expired token is at home in every history.
        for lineage in [Lineage(4), Lineage(5)] {
            let next = ContinueToken::decode(status.continue_token(), lineage);
            assert_eq!(next, Ok((None, "default/a".to_string())));
        }
        for bad in ["%", "e30", "bm9wZQ"] {
            let status = ContinueToken::decode(bad, Lineage(3)).unwrap_err();
            assert!(
                status.code() == 400
                    && status.message().starts_with("invalid continue token: continue key is not valid"),
                "{status}"
            );
        }
    }
}
