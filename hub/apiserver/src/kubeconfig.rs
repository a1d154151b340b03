//! `kubeconfig` files, as kubectl reads them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A kubeconfig with one cluster, one user and one context, of the administrator.
pub fn render(server: &str, ca_pem: &str, certificate_pem: &str, key_pem: &str) -> String {
    let (ca, certificate, key) = (STANDARD.encode(ca_pem), STANDARD.encode(certificate_pem), STANDARD.encode(key_pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: holdfast
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: holdfast-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: holdfast
  context:
    cluster: holdfast
    user: holdfast-admin
current-context: holdfast
"
    )
}
