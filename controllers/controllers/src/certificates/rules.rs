//! What each signer of the cluster certifies, with upstream's texts.

use super::CertificateRequest;
use holdfast_core::user::MASTERS;

/// Client certificates of users.
pub const USER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Client certificates of nodes.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of nodes.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";

/// Judges a request to a signer; `None` when that is not one of the cluster's.
pub(super) fn judge(signer: &str, request: &CertificateRequest, usages: &[String]) -> Option<Result<(), String>> {
    match signer {
        USER_CLIENT => Some(user_client(request, usages)),
        KUBELET_CLIENT => Some(kubelet_client(request, usages)),
        KUBELET_SERVING => Some(kubelet_serving(request, usages)),
        _ => None,
    }
}

/// Whether a signer is one of the cluster's.
pub(super) fn is_ours(signer: &str) -> bool {
    [USER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&signer)
}

fn user_client(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    // Whoever may approve for users is not thereby allowed everything.
    if request.organizations.iter().any(|group| group == MASTERS) {
        return Err(format!("use of {USER_CLIENT} signer with {MASTERS} group is not allowed"));
    }
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.iter().any(|usage| usage == "client auth") {
        return Err("missing required usage for client certificate: client auth".into());
    }
    Ok(())
}

pub(super) fn kubelet_client(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    of_a_node(request)?;
    for (names, what) in
        [(&request.dns_names, "DNS"), (&request.emails, "Email"), (&request.addresses, "IP"), (&request.uris, "URI")]
    {
        none(names, what)?;
    }
    named_as_a_node(request)?;
    exactly(usages, &["client auth", "digital signature", "key encipherment"])
}

fn kubelet_serving(request: &CertificateRequest, usages: &[String]) -> Result<(), String> {
    of_a_node(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    none(&request.emails, "Email")?;
    none(&request.uris, "URI")?;
    exactly(usages, &["digital signature", "key encipherment", "server auth"])?;
    named_as_a_node(request)
}

fn of_a_node(request: &CertificateRequest) -> Result<(), String> {
    if request.organizations == [NODES] { Ok(()) } else { Err(format!("subject organization is not {NODES}")) }
}

fn named_as_a_node(request: &CertificateRequest) -> Result<(), String> {
    if request.common_name.starts_with(NODE) {
        return Ok(());
    }
    Err(format!("subject common name does not begin with {NODE}"))
}

fn none(names: &[String], what: &str) -> Result<(), String> {
    if names.is_empty() { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
}

/// All of `wanted`; keys that are not RSA's need no key encipherment.
fn exactly(usages: &[String], wanted: &[&str]) -> Result<(), String> {
    let has = |wanted: &[&str]| {
        usages.len() == wanted.len() && wanted.iter().all(|usage| usages.iter().any(|given| given == usage))
    };
    let without: Vec<&str> = wanted.iter().copied().filter(|usage| *usage != "key encipherment").collect();
    if has(wanted) || has(&without) {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn node() -> CertificateRequest {
        CertificateRequest {
            common_name: "system:node:n1".into(),
            organizations: vec![NODES.into()],
            ..CertificateRequest::default()
        }
    }

    #[test]
    fn each_signer_takes_what_it_is_for() {
        let client = usages(&["digital signature", "client auth"]);
        let serving = usages(&["digital signature", "key encipherment", "server auth"]);
        let named = CertificateRequest { addresses: vec!["10.0.0.1".into()], ..node() };
        type Case = (&'static str, CertificateRequest, Vec<String>, Result<(), &'static str>);
        let cases: Vec<Case> = vec![
            (USER_CLIENT, CertificateRequest::default(), client.clone(), Ok(())),
            (USER_CLIENT, node(), usages(&["server auth"]), Err("invalid usage for client certificate: server auth")),
            (
                USER_CLIENT,
                node(),
                usages(&["digital signature"]),
                Err("missing required usage for client certificate: client auth"),
            ),
            (
                USER_CLIENT,
                CertificateRequest { organizations: vec![MASTERS.into()], ..CertificateRequest::default() },
                client.clone(),
                Err("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"),
            ),
            (KUBELET_CLIENT, node(), client.clone(), Ok(())),
            (KUBELET_CLIENT, named.clone(), client.clone(), Err("IP subjectAltNames are not allowed")),
            (
                KUBELET_CLIENT,
                CertificateRequest { common_name: "jane".into(), ..node() },
                client.clone(),
                Err("subject common name does not begin with system:node:"),
            ),
            (
                KUBELET_CLIENT,
                CertificateRequest { organizations: vec![NODES.into(), "more".into()], ..node() },
                client.clone(),
                Err("subject organization is not system:nodes"),
            ),
            (
                KUBELET_CLIENT,
                node(),
                serving.clone(),
                Err("usages did not match [client auth digital signature key encipherment]"),
            ),
            (KUBELET_SERVING, named.clone(), serving.clone(), Ok(())),
            (KUBELET_SERVING, node(), serving.clone(), Err("DNS or IP subjectAltName is required")),
            (
                KUBELET_SERVING,
                CertificateRequest { uris: vec!["a://b".into()], ..named.clone() },
                serving.clone(),
                Err("URI subjectAltNames are not allowed"),
            ),
            (
                KUBELET_SERVING,
                named,
                client,
                Err("usages did not match [digital signature key encipherment server auth]"),
            ),
        ];
        for (signer, request, usages, expected) in cases {
            assert_eq!(
                judge(signer, &request, &usages),
                Some(expected.map_err(str::to_string)),
                "{signer} {request:?} {usages:?}"
            );
        }
        assert_eq!(judge("example.com/own", &node(), &serving), None);
    }
}
