//! What a path is about.

use holdfast_core::{Gvr, Target};
use http::Method;

/// What a request's path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Objects.
    Resource {
        /// Which.
        target: Target,
        /// The old `/watch/` form of the path.
        watch_prefix: bool,
    },
    /// Anything else: discovery, health, documents.
    Path,
    /// A resource path that no resource can have.
    Nowhere,
}

impl Route {
    /// The resource, if it leads to one.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Route::Resource { target, .. } => Some(target),
            Route::Path | Route::Nowhere => None,
        }
    }
}

/// Subresources of a namespace; any other third part is a resource within it.
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

/// Reads a path.
pub fn route(path: &str) -> Route {
    // Decoded first, as upstream's server does: a slash is one however it is written, and is never part of a name.
    let path = percent_decode(path);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match &parts[..] {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Route::Path,
    };
    let (rest, behind_proxy) = before_proxy(group, rest);
    if rest.iter().any(|part| part.is_empty()) {
        return Route::Nowhere;
    }
    let (watch_prefix, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let gvr = |resource: &str| Gvr::new(group, version, resource);
    let target = match rest {
        ["namespaces", namespace, resource, name] if behind_proxy => {
            Target::object(gvr(resource), namespace, name).with_subresource("proxy")
        }
        [resource, name] if behind_proxy => Target::object(gvr(resource), "", name).with_subresource("proxy"),
        ["namespaces", name, sub] if NAMESPACE_SUBRESOURCES.contains(sub) => {
            Target::object(gvr("namespaces"), "", name).with_subresource(sub)
        }
        ["namespaces", namespace, resource] => Target::collection(gvr(resource), namespace),
        ["namespaces", namespace, resource, name] => Target::object(gvr(resource), namespace, name),
        ["namespaces", namespace, resource, name, sub] => {
            Target::object(gvr(resource), namespace, name).with_subresource(sub)
        }
        [resource] => Target::collection(gvr(resource), ""),
        [resource, name] => Target::object(gvr(resource), "", name),
        [resource, name, sub] => Target::object(gvr(resource), "", name).with_subresource(sub),
        _ => return Route::Nowhere,
    };
    Route::Resource { target, watch_prefix }
}

/// What stands before `proxy`, and whether it does: behind it comes the path of something else.
fn before_proxy<'a>(group: &str, rest: &'a [&'a str]) -> (&'a [&'a str], bool) {
    let at = match rest {
        ["namespaces", _, "pods" | "services", _, "proxy", ..] => 4,
        ["nodes", _, "proxy", ..] => 2,
        _ => return (rest, false),
    };
    if group.is_empty() { (&rest[..at], true) } else { (rest, false) }
}

/// The verb that authorization and metrics see for a path that is no resource's.
pub fn path_verb(method: &Method) -> String {
    method.as_str().to_ascii_lowercase()
}

/// Decodes `%XX`; a malformed escape stays as it is.
pub fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        match route(path) {
            Route::Resource { target, .. } => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_lead_where_upstreams_do() {
        let pods = || Gvr::new("", "v1", "pods");
        let namespaces = || Gvr::new("", "v1", "namespaces");
        let deployments = || Gvr::new("apps", "v1", "deployments");
        assert_eq!(target("/api/v1/pods"), Target::collection(pods(), ""));
        assert_eq!(target("/api/v1/pods/"), Target::collection(pods(), ""));
        assert_eq!(target("/api/v1/namespaces"), Target::collection(namespaces(), ""));
        assert_eq!(target("/api/v1/namespaces/a"), Target::object(namespaces(), "", "a"));
        assert_eq!(
            target("/api/v1/namespaces/a/finalize"),
            Target::object(namespaces(), "", "a").with_subresource("finalize")
        );
        assert_eq!(target("/api/v1/namespaces/a/pods"), Target::collection(pods(), "a"));
        assert_eq!(
            target("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            Target::object(deployments(), "a", "b").with_subresource("scale")
        );
        assert_eq!(
            target("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode"),
            Target::object(Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles"), "", "system:node")
        );
        for path in ["", "/", "/a//b/", "/namespaces/x"] {
            let proxied = Target::object(pods(), "a", "b:80").with_subresource("proxy");
            assert_eq!(target(&format!("/api/v1/namespaces/a/pods/b:80/proxy{path}")), proxied, "{path}");
            let node = Target::object(Gvr::new("", "v1", "nodes"), "", "n").with_subresource("proxy");
            assert_eq!(target(&format!("/api/v1/nodes/n/proxy{path}")), node, "{path}");
        }
        assert!(matches!(route("/api/v1/watch/namespaces/a/pods"), Route::Resource { watch_prefix: true, .. }));
        for path in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v3/api/v1"] {
            assert_eq!(route(path), Route::Path, "{path}");
        }
        assert_eq!(
            target("/api/v1/namespaces/a/pods/b%2Flog"),
            Target::object(pods(), "a", "b").with_subresource("log")
        );
        assert_eq!(target("/api/v1/namespaces/a%2Fpods/b"), Target::object(pods(), "a", "b"));
        assert_eq!(target("/api/v1/namespaces/a/pods/b%252Fc"), Target::object(pods(), "a", "b%2Fc"));
        for path in
            ["/api/v1/namespaces/a/pods/b/c/d", "/api/v1/namespaces/a/pods/%2Fb", "/api/v1//pods", "/api/v1/watch"]
        {
            assert_eq!(route(path), Route::Nowhere, "{path}");
        }
    }

    #[test]
    fn malformed_escapes_stay() {
        assert_eq!(percent_decode("a%2Fb%zz%4"), "a/b%zz%4");
        assert_eq!(percent_decode("%+1"), "%+1");
    }
}
