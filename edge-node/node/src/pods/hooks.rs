//! Hooks of containers: `postStart` and `preStop`.

use super::probes::{ExecFailure, ProbeTarget};
use super::work::Common;
use holdfast_pods::container_named;
use k8s_openapi::api::core::v1::{HTTPGetAction, HTTPHeader, LifecycleHandler};
use std::time::Duration;

/// What hooks call themselves.
const HOOK_AGENT: &str = "kube-lifecycle/1.36";
/// Why a request fails that speaks TLS to who does not.
const NO_TLS: &str = "server gave HTTP response to HTTPS client";

/// A GET of a hook. Whatever is answered is good; who answers HTTPS with HTTP is asked again, as upstream does for hooks of
/// before it spoke HTTPS.
async fn http_hook(
    common: &Common,
    target: &ProbeTarget,
    action: &HTTPGetAction,
    limit: Duration,
) -> Result<(), String> {
    let container = container_named(&target.pod, &target.container).unwrap_or_default();
    let mut action = action.clone();
    let headers = action.http_headers.get_or_insert_default();
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("user-agent")) {
        headers.push(HTTPHeader { name: "User-Agent".into(), value: HOOK_AGENT.into() });
    }
    let failure = match target.http(&container, &action, limit).await {
        Ok(_) => return Ok(()),
        Err(why) => why,
    };
    if action.scheme.as_deref() != Some("HTTPS") || !failure.ends_with(NO_TLS) {
        return Err(failure);
    }
    action.scheme = Some("HTTP".into());
    let headers = action.http_headers.get_or_insert_default();
    headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
    if target.http(&container, &action, limit).await.is_err() {
        return Err(failure);
    }
    let host = target.authority(&container, &action);
    let message = format!("request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded");
    common.events.pod(&target.pod, Some(&target.container), true, "LifecycleHTTPFallback", &message).await;
    Ok(())
}

pub(super) async fn run_hook(
    common: &Common,
    target: &ProbeTarget,
    hook: &LifecycleHandler,
    limit: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        return match target.exec(exec, limit).await.map_err(ExecFailure::text)? {
            (0, _) => Ok(()),
            (code, output) => Err(format!("the command exited with {code}: {output}")),
        };
    }
    if let Some(http) = &hook.http_get {
        return http_hook(common, target, http, limit).await;
    }
    if let Some(sleep) = &hook.sleep {
        let wait = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)).min(limit);
        target.env.sleep(wait).await;
        return Ok(());
    }
    Err("not implemented: this sort of hook".into())
}
