//! Whose requests are taken, how many at once, and whether users share: upstream's flags.

use anyhow::{Context, bail};
use clap::Args;
use holdfast_server::{Anonymous, InFlight};
use std::path::PathBuf;

/// What was told of requests, by flag or environment, or by the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RequestArguments {
    /// Whether requests without credentials are taken, as those of system:anonymous [default: true].
    #[arg(long, env = "HOLDFAST_ANONYMOUS_AUTH", value_name = "BOOL")]
    pub(super) anonymous_auth: Option<bool>,
    /// An AuthenticationConfiguration (apiserver.config.k8s.io/v1, YAML): to which paths requests without credentials are
    /// taken.
    #[arg(long, env = "HOLDFAST_AUTHENTICATION_CONFIG", value_name = "FILE")]
    pub(super) authentication_config: Option<PathBuf>,
    /// Whether the server is shared between users by FlowSchemas and PriorityLevelConfigurations, whose seats are the two
    /// numbers below together; else whoever comes first is answered [default: true].
    #[arg(long, env = "HOLDFAST_ENABLE_PRIORITY_AND_FAIRNESS", value_name = "BOOL")]
    pub(super) enable_priority_and_fairness: Option<bool>,
    /// Requests that change nothing and are answered at once; further ones get 429. 0 means any number [default: 400].
    #[arg(long, env = "HOLDFAST_MAX_REQUESTS_INFLIGHT", value_name = "COUNT")]
    pub(super) max_requests_inflight: Option<usize>,
    /// Requests that change something and are answered at once; further ones get 429. 0 means any number [default: 200].
    #[arg(long, env = "HOLDFAST_MAX_MUTATING_REQUESTS_INFLIGHT", value_name = "COUNT")]
    pub(super) max_mutating_requests_inflight: Option<usize>,
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestConfig {
    pub(crate) anonymous: Anonymous,
    pub(crate) inflight: InFlight,
    pub(crate) fairness: bool,
}

impl Default for RequestConfig {
    fn default() -> RequestConfig {
        RequestConfig { anonymous: Anonymous::default(), inflight: InFlight::default(), fairness: true }
    }
}

impl RequestArguments {
    /// These, and where they say nothing what `file` says.
    pub(super) fn or(self, file: RequestArguments) -> RequestArguments {
        RequestArguments {
            anonymous_auth: self.anonymous_auth.or(file.anonymous_auth),
            authentication_config: self.authentication_config.or(file.authentication_config),
            enable_priority_and_fairness: self.enable_priority_and_fairness.or(file.enable_priority_and_fairness),
            max_requests_inflight: self.max_requests_inflight.or(file.max_requests_inflight),
            max_mutating_requests_inflight: self.max_mutating_requests_inflight.or(file.max_mutating_requests_inflight),
        }
    }

    /// Reads what they name and checks it.
    pub(super) fn resolve(self) -> anyhow::Result<RequestConfig> {
        let told = match &self.authentication_config {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("read --authentication-config {}", path.display()))?;
                Anonymous::parse(&text).map_err(|err| {
                    anyhow::anyhow!("--authentication-config {} is no configuration: {err}", path.display())
                })?
            }
            None => None,
        };
        let anonymous = match (self.anonymous_auth, told) {
            (Some(_), Some(_)) => {
                bail!("--anonymous-auth and `anonymous` in --authentication-config exclude each other")
            }
            (flag, None) => Anonymous::new(flag.unwrap_or(true)),
            (None, Some(told)) => told,
        };
        let default = InFlight::default();
        let inflight = InFlight {
            reads: self.max_requests_inflight.unwrap_or(default.reads),
            writes: self.max_mutating_requests_inflight.unwrap_or(default.writes),
        };
        Ok(RequestConfig { anonymous, inflight, fairness: self.enable_priority_and_fairness.unwrap_or(true) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(anonymous: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        file.write_all(format!("{head}{anonymous}\n").as_bytes()).unwrap();
        file
    }

    #[test]
    fn flag_and_file_say_who_may_ask() {
        let resolve = |flag: Option<bool>, file: Option<&tempfile::NamedTempFile>| {
            let authentication_config = file.map(|file| file.path().to_path_buf());
            RequestArguments { anonymous_auth: flag, authentication_config, ..Default::default() }.resolve()
        };
        assert_eq!(resolve(None, None).unwrap(), RequestConfig::default());
        assert!(!resolve(Some(false), None).unwrap().anonymous.may_ask("/livez"));
        let (some, none, bad) =
            (file("anonymous: {enabled: true, conditions: [{path: /livez}]}"), file(""), file("jwt: [{}]"));
        let told = resolve(None, Some(&some)).unwrap().anonymous;
        assert!(told.may_ask("/livez") && !told.may_ask("/version"));
        assert!(!resolve(Some(false), Some(&none)).unwrap().anonymous.may_ask("/livez"));
        assert!(resolve(Some(true), Some(&some)).unwrap_err().to_string().contains("exclude each other"));
        assert!(resolve(None, Some(&bad)).unwrap_err().to_string().contains("jwt: Forbidden: not implemented"));
    }

    #[test]
    fn bounds_of_flags_go_before_those_of_the_file() {
        let flags = RequestArguments { max_requests_inflight: Some(5), ..Default::default() };
        let file = RequestArguments {
            max_requests_inflight: Some(7),
            max_mutating_requests_inflight: Some(0),
            ..Default::default()
        };
        let told = flags.or(file).resolve().unwrap();
        assert_eq!((told.inflight, told.fairness), (InFlight { reads: 5, writes: 0 }, true));
        let off = RequestArguments { enable_priority_and_fairness: Some(false), ..Default::default() };
        assert!(!RequestArguments::default().or(off).resolve().unwrap().fairness);
    }
}
