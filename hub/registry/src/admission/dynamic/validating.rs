//! Validating webhooks: all at once, on what the write has become.

use super::Asked;
use super::cache::Hook;
use super::mutating::wanted;
use super::review::{Shown, ask, settle};
use futures_util::future::join_all;
use holdfast_core::{Json, Status};
use holdfast_kinds::Kind;
use std::sync::Arc;

/// The documents of a request in one version.
struct Version {
    kind: &'static Kind,
    object: Json,
    old: Json,
}

/// Asks all that want to hear of a request. Of several refusals the first by name of its configuration is told.
pub(super) async fn judge(
    hooks: &[Arc<Hook>],
    asked: &Asked<'_>,
    object: Option<&Json>,
    old: Option<&Json>,
) -> Result<(), Status> {
    let mut versions: Vec<Version> = Vec::new();
    let mut calls: Vec<(&Hook, usize)> = Vec::new();
    for hook in hooks {
        let Some(kind) = wanted(asked, hook, object, old).await? else { continue };
        let known = versions.iter().position(|version| std::ptr::eq(version.kind, kind));
        let at = match known {
            Some(at) => at,
            None => {
                let (object, old) = (asked.shown(kind, object).await?, asked.shown(kind, old).await?);
                versions.push(Version { kind, object, old });
                versions.len() - 1
            }
        };
        calls.push((&**hook, at));
    }
    let answers = calls.into_iter().map(|(hook, at)| {
        let Version { kind, object, old } = &versions[at];
        let shown = Shown { kind, object, old };
        async move {
            match ask(asked, hook, &shown, false).await {
                Ok(_) => Ok(()),
                Err(problem) => settle(hook, problem),
            }
        }
    });
    join_all(answers).await.into_iter().collect()
}
