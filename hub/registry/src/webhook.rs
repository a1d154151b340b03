//! A webhook as objects of the API name it, with `url` or `service`: where it is, and how it is asked. What is said is of
//! who asks: admission ([`crate::admission::dynamic`]) and the conversion of custom kinds ([`crate::custom`]).

use crate::engine::Engine;
use crate::subresources::proxy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use holdfast_core::Json;
use holdfast_core::json::{i64_at, str_at};
use holdfast_server::{CallFailure, WebhookRoute, WebhookTarget};
use std::sync::Arc;
use std::time::Duration;

const HTTPS: u16 = 443;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Url(String),
    Service { namespace: String, name: String, path: String, port: u16 },
}

/// A webhook, and by whom its certificate has to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    address: Address,
    ca_bundle: Arc<[u8]>,
}

impl Webhook {
    /// Of a `clientConfig`, which was validated.
    pub(crate) fn read(client: &Json) -> Webhook {
        let service = |field: &str| str_at(client, &["service", field]).unwrap_or_default().to_string();
        let address = match str_at(client, &["url"]) {
            Some(url) => Address::Url(url.to_string()),
            None => Address::Service {
                namespace: service("namespace"),
                name: service("name"),
                path: service("path"),
                port: i64_at(client, &["service", "port"]).and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTPS),
            },
        };
        let bundle = STANDARD.decode(str_at(client, &["caBundle"]).unwrap_or_default()).unwrap_or_default();
        Webhook { address, ca_bundle: bundle.into() }
    }

    /// Posts a document and returns the answer, as far as it comes `within` that time.
    ///
    /// # Errors
    /// Why there is none, in the words of upstream's client.
    pub(crate) async fn post(&self, engine: &Engine, document: &Json, within: Duration) -> Result<Bytes, String> {
        let Some(calls) = engine.webhook_calls.get() else { return Err("the hub cannot call webhooks yet".into()) };
        let body = serde_json::to_vec(document).map_err(|err| format!("could not encode the request: {err}"))?;
        let call = async {
            let target = self.target(engine).await?;
            let failed = |failure: CallFailure| match failure {
                CallFailure::Transport(why) => format!("Post {:?}: {why}", self.url(within)),
                other => other.to_string(),
            };
            calls.post(&target, body.into(), within).await.map_err(failed)
        };
        let answer = engine.env.timeout(within, call).await;
        answer.unwrap_or_else(|| Err(format!("Post {:?}: context deadline exceeded", self.url(within))))
    }

    /// Where a request goes, as upstream names it.
    fn url(&self, within: Duration) -> String {
        let url = match &self.address {
            Address::Url(url) => url.clone(),
            Address::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{}", rooted(path))
            }
        };
        format!("{url}?timeout={}s", within.as_secs())
    }

    /// The way there. A service is reached through the link of the node of one of its pods.
    async fn target(&self, engine: &Engine) -> Result<WebhookTarget, String> {
        let ca_bundle = self.ca_bundle.clone();
        match &self.address {
            Address::Url(url) => {
                let rest = url.strip_prefix("https://").ok_or("its url is not https")?;
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let (host, port) = host_and_port(authority).ok_or("its url names no host and port")?;
                Ok(WebhookTarget {
                    authority: authority.to_string(),
                    path: rooted(path),
                    server_name: host.to_string(),
                    route: WebhookRoute::Network { host: host.to_string(), port },
                    ca_bundle,
                })
            }
            Address::Service { namespace, name, path, port } => {
                let (ports, pod_port) = proxy::endpoint(engine, namespace, name, &port.to_string())
                    .await
                    .map_err(|status| status.to_string())?;
                let server_name = format!("{name}.{namespace}.svc");
                Ok(WebhookTarget {
                    authority: format!("{server_name}:{port}"),
                    path: rooted(path),
                    server_name,
                    route: WebhookRoute::Pod { ports, port: pod_port },
                    ca_bundle,
                })
            }
        }
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_string() } else { format!("/{path}") }
}

/// The host, without brackets, and the port of an authority.
fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None | Some("") => HTTPS,
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(host_and_port("a.b"), Some(("a.b", 443)));
        assert_eq!(host_and_port("a.b:8443"), Some(("a.b", 8443)));
        assert_eq!(host_and_port("[::1]:8443"), Some(("::1", 8443)));
        assert_eq!(host_and_port("[::1]"), Some(("::1", 443)));
        for bad in ["", ":1", "a:x", "a:0", "[::1"] {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }
}
