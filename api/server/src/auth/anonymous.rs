//! Requests without credentials: whether they are taken, and to which paths
//! (`apiserver.config.k8s.io/v1 AuthenticationConfiguration`,
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#anonymous-authenticator-configuration>).

use holdfast_core::{FieldErrors, FieldPath, Json};
use serde::Deserialize;

/// Versions in which the configuration is read.
const VERSIONS: &[&str] = &["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];

/// Who without credentials may ask. What they may do is the authorizer's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    enabled: bool,
    /// Empty for all paths.
    paths: Vec<String>,
}

impl Default for Anonymous {
    fn default() -> Anonymous {
        Anonymous::new(true)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Vec<Json>,
    anonymous: Option<Section>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Section {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    path: String,
}

impl Anonymous {
    /// All of them, or none.
    pub fn new(enabled: bool) -> Anonymous {
        Anonymous { enabled, paths: Vec::new() }
    }

    /// Reads an AuthenticationConfiguration, YAML or JSON. `None` when it says nothing of requests without credentials.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field; also for what is not built.
    pub fn parse(text: &str) -> Result<Option<Anonymous>, String> {
        let configuration: Configuration = serde_saphyr::from_str(text).map_err(|err| err.to_string())?;
        let mut errors = FieldErrors::new();
        if !VERSIONS.contains(&configuration.api_version.as_str()) {
            errors.not_supported(&FieldPath::new("apiVersion"), configuration.api_version, VERSIONS);
        }
        if configuration.kind != "AuthenticationConfiguration" {
            errors.not_supported(&FieldPath::new("kind"), configuration.kind, &["AuthenticationConfiguration"]);
        }
        if !configuration.jwt.is_empty() {
            errors.forbidden(&FieldPath::new("jwt"), "not implemented: tokens of other issuers are not accepted yet");
        }
        let anonymous = configuration.anonymous.map(|section| {
            let path = FieldPath::new("anonymous").child("conditions");
            if !section.enabled && !section.conditions.is_empty() {
                errors.forbidden(&path, "enabled should be set to true when conditions are defined");
            }
            let paths: Vec<String> = section.conditions.into_iter().map(|condition| condition.path).collect();
            for (at, text) in paths.iter().enumerate().filter(|(_, text)| !text.starts_with('/')) {
                errors.invalid(&path.index(at).child("path"), text.as_str(), "must begin with '/'");
            }
            Anonymous { enabled: section.enabled, paths }
        });
        if errors.is_empty() {
            return Ok(anonymous);
        }
        Err(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    /// Whether a request without credentials is taken at a path.
    pub fn may_ask(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|known| known == path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

    #[test]
    fn paths_may_be_named() {
        let read = |text: &str| Anonymous::parse(&format!("{HEAD}{text}")).unwrap();
        let some = read("anonymous:\n  enabled: true\n  conditions:\n  - path: /livez\n  - path: /readyz\n").unwrap();
        assert!(
            some.may_ask("/livez") && some.may_ask("/readyz") && !some.may_ask("/livez/ping") && !some.may_ask("/")
        );
        assert!(read("anonymous: {enabled: true}").unwrap().may_ask("/api"));
        assert!(!read("anonymous: {enabled: false}").unwrap().may_ask("/livez"));
        assert_eq!(read(""), None);
        assert!(Anonymous::default().may_ask("/api"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("jwt: [{issuer: {}}]", "jwt: Forbidden: not implemented"),
            (
                "anonymous: {enabled: false, conditions: [{path: /x}]}",
                "anonymous.conditions: Forbidden: enabled should",
            ),
            (
                "anonymous: {enabled: true, conditions: [{path: x}]}",
                "anonymous.conditions[0].path: Invalid value: \"x\"",
            ),
            ("anonymus: {}", "unknown field"),
        ] {
            let why = Anonymous::parse(&format!("{HEAD}{text}")).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
        assert!(Anonymous::parse("apiVersion: v1\nkind: Pod\n").unwrap_err().contains("apiVersion: Unsupported value"));
    }
}
