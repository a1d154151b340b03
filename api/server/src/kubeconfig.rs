//! `kubeconfig` files, as kubectl reads them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A kubeconfig with one cluster and one context, both called `name`, and one user, `<name>-admin`.
pub fn render(name: &str, server: &str, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> String {
    let (ca, certificate, key) = (STANDARD.encode(ca_pem), STANDARD.encode(certificate_pem), STANDARD.encode(key_pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {name}-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}-admin
current-context: {name}
"
    )
}
