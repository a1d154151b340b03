//! Which store, and for etcd which of it: `--store` and what goes with it.

use anyhow::{Context, bail, ensure};
use clap::Args;
use holdfast_store_etcd::{DEFAULT_PREFIX, EtcdConfig, EtcdTls};
use std::path::{Path, PathBuf};

/// What was told of the store, by flag or environment, or by the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StoreArguments {
    /// Where objects are kept: `embedded`, or `etcd=http://HOST:PORT[,…]` (https too) for a store that several hubs may
    /// share [default: embedded].
    #[arg(long, env = "HOLDFAST_STORE", value_name = "STORE")]
    pub(super) store: Option<String>,
    /// The folder of the hubs' keys in etcd [default: /holdfast/].
    #[arg(long, env = "HOLDFAST_ETCD_PREFIX", value_name = "PREFIX")]
    pub(super) etcd_prefix: Option<String>,
    /// PEM of the authorities that etcd's certificate may come from; needed for https.
    #[arg(long, env = "HOLDFAST_ETCD_CA", value_name = "FILE")]
    pub(super) etcd_ca: Option<PathBuf>,
    /// PEM of the certificate that the hub shows etcd, if etcd asks for one.
    #[arg(long, env = "HOLDFAST_ETCD_CERT", value_name = "FILE")]
    pub(super) etcd_cert: Option<PathBuf>,
    /// PEM of the key of that certificate.
    #[arg(long, env = "HOLDFAST_ETCD_KEY", value_name = "FILE")]
    pub(super) etcd_key: Option<PathBuf>,
}

/// The store to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreConfig {
    /// In the data folder.
    Embedded,
    /// On etcd.
    Etcd {
        /// Its members.
        endpoints: Vec<String>,
        /// The folder of the hubs' keys.
        prefix: String,
        /// For https.
        ca: Option<PathBuf>,
        /// Certificate and key to show.
        identity: Option<(PathBuf, PathBuf)>,
    },
}

impl StoreArguments {
    /// These, and where they say nothing what `file` says.
    pub(super) fn or(self, file: StoreArguments) -> StoreArguments {
        StoreArguments {
            store: self.store.or(file.store),
            etcd_prefix: self.etcd_prefix.or(file.etcd_prefix),
            etcd_ca: self.etcd_ca.or(file.etcd_ca),
            etcd_cert: self.etcd_cert.or(file.etcd_cert),
            etcd_key: self.etcd_key.or(file.etcd_key),
        }
    }

    /// Checks them; etcd is not asked.
    pub(super) fn resolve(self) -> anyhow::Result<StoreConfig> {
        let store = self.store.as_deref().unwrap_or("embedded");
        let Some(endpoints) = store.strip_prefix("etcd=") else {
            ensure!(store == "embedded", "--store {store:?} is neither embedded nor etcd=http://HOST:PORT[,…]");
            let paths = [("ca", &self.etcd_ca), ("cert", &self.etcd_cert), ("key", &self.etcd_key)];
            let given = paths.iter().find(|(_, path)| path.is_some()).map(|(flag, _)| *flag);
            if let Some(flag) = given.or(self.etcd_prefix.is_some().then_some("prefix")) {
                bail!("--etcd-{flag} is for --store etcd=…, and the store is embedded");
            }
            return Ok(StoreConfig::Embedded);
        };
        let identity = match (self.etcd_cert, self.etcd_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => bail!("--etcd-cert needs --etcd-key"),
            (None, Some(_)) => bail!("--etcd-key needs --etcd-cert"),
        };
        if self.etcd_ca.is_none() && identity.is_some() {
            bail!("--etcd-cert needs --etcd-ca: the authority that etcd's own certificate comes from");
        }
        let endpoints = endpoints.split(',').map(|url| url.trim().to_string()).collect();
        let prefix = self.etcd_prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_string());
        let config = StoreConfig::Etcd { endpoints, prefix, ca: self.etcd_ca, identity };
        config.etcd()?;
        Ok(config)
    }
}

impl StoreConfig {
    /// Whether other hubs may use it too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, StoreConfig::Etcd { .. })
    }

    /// What etcd's store wants to know, its certificates read; `None` for the embedded one.
    pub(crate) fn etcd(&self) -> anyhow::Result<Option<EtcdConfig>> {
        let StoreConfig::Etcd { endpoints, prefix, ca, identity } = self else { return Ok(None) };
        let read = |flag: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("read --etcd-{flag} {}", path.display()))
        };
        let identity = match identity {
            Some((certificate, key)) => Some((read("cert", certificate)?, read("key", key)?)),
            None => None,
        };
        let tls = match ca {
            Some(ca) => Some(EtcdTls { ca: read("ca", ca)?, identity }),
            None => None,
        };
        let config = EtcdConfig { prefix: prefix.clone(), tls, ..EtcdConfig::new(endpoints.clone()) };
        config.check().map_err(|err| anyhow::anyhow!("--store etcd={}: {err}", endpoints.join(",")))?;
        Ok(Some(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(store: &str) -> StoreArguments {
        StoreArguments { store: Some(store.to_string()), ..StoreArguments::default() }
    }

    fn refused(arguments: StoreArguments) -> String {
        format!("{:#}", arguments.resolve().unwrap_err())
    }

    #[test]
    fn flags_win_over_the_file_key_by_key() {
        let file = StoreArguments { etcd_prefix: Some("/file/".into()), ..told("etcd=http://file:1") };
        let flags = told("etcd=http://a:2379, http://b:2379");
        let StoreConfig::Etcd { endpoints, prefix, .. } = flags.or(file).resolve().unwrap() else { panic!() };
        assert_eq!((endpoints, prefix.as_str()), (vec!["http://a:2379".into(), "http://b:2379".into()], "/file/"));
        let none = StoreArguments::default();
        assert_eq!(none.clone().or(none).resolve().unwrap(), StoreConfig::Embedded);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (store, words) in [
            ("redis", "--store \"redis\" is neither embedded nor etcd="),
            ("etcd", "is neither embedded nor etcd="),
            ("etcd=", "--store etcd=: \"\" is no endpoint of etcd"),
            ("etcd=127.0.0.1:2379", "is no endpoint of etcd; write for example http://127.0.0.1:2379"),
            ("etcd=https://a:1", "needs the CA"),
            ("etcd=http://a:1,https://b:1", "all http or all https"),
        ] {
            let said = refused(told(store));
            assert!(said.contains(words), "{store}: {said}");
        }
        let with = |change: fn(&mut StoreArguments)| {
            let mut arguments = told("etcd=https://a:1");
            change(&mut arguments);
            refused(arguments)
        };
        assert!(with(|a| a.etcd_ca = Some("/none".into())).starts_with("read --etcd-ca /none: "));
        assert_eq!(with(|a| a.etcd_cert = Some("/c".into())), "--etcd-cert needs --etcd-key");
        assert!(
            with(|a| (a.etcd_cert, a.etcd_key) = (Some("/c".into()), Some("/k".into()))).contains("needs --etcd-ca")
        );
        let embedded = StoreArguments { etcd_prefix: Some("/x/".into()), ..StoreArguments::default() };
        assert_eq!(refused(embedded), "--etcd-prefix is for --store etcd=…, and the store is embedded");
    }
}
