//! The node's key for ServiceAccount tokens that it signs while the link is cut: ES256, in a file of its own.

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_edge_store::file;
use holdfast_env::World;
use holdfast_node::tokens::TokenKey;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use std::sync::Arc;

const PATH: &str = "token-key";
/// An uncompressed point of P-256 (SEC 1 §2.3.3): a byte 4, then x and y.
const POINT_BYTES: usize = 65;

struct Es256 {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// Reads the key, or makes it: at the first start after the join. A damaged one is made anew, and the hub hears of it
/// with the node's next status.
///
/// # Errors
/// When the disk fails.
pub(crate) fn open(env: &World) -> anyhow::Result<Arc<dyn TokenKey>> {
    let disk = env.disk();
    let random = SystemRandom::new();
    let read = |pkcs8: &[u8]| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
    match file::read(&*disk, PATH) {
        Ok(Some(pkcs8)) => match read(&pkcs8) {
            Ok(pair) => return Ok(Arc::new(Es256 { pair, random })),
            Err(err) => tracing::warn!(%err, "The node's key for tokens is no key and is made anew"),
        },
        Ok(None) => {}
        Err(err) => tracing::warn!(%err, "The node's key for tokens is damaged and is made anew"),
    }
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| anyhow!("the node's key for tokens cannot be made"))?;
    file::write(&*disk, PATH, made.as_ref()).context("the node's key for tokens cannot be written")?;
    let pair = read(made.as_ref()).map_err(|err| anyhow!("the node's key for tokens cannot be used: {err}"))?;
    Ok(Arc::new(Es256 { pair, random }))
}

impl TokenKey for Es256 {
    fn public(&self) -> String {
        let point = self.pair.public_key().as_ref();
        assert_eq!(point.len(), POINT_BYTES, "ring gives P-256 points uncompressed");
        let (x, y) = point[1..].split_at(POINT_BYTES / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}).to_string()
    }

    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        let signature = self.pair.sign(&self.random, data).map_err(|_| "ring did not sign".to_string())?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn the_key_stays_and_its_signatures_verify_by_what_it_publishes() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        let key = open(&env).unwrap();
        assert_eq!(open(&env).unwrap().public(), key.public());
        let jwk: serde_json::Value = serde_json::from_str(&key.public()).unwrap();
        let mut point = vec![4];
        for part in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(jwk[part].as_str().unwrap()).unwrap());
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
        let signature = key.sign(b"data").unwrap();
        public.verify(b"data", &signature).unwrap();
        assert!(public.verify(b"date", &signature).is_err());
        std::fs::write(dir.path().join("token-key"), b"torn").unwrap();
        assert_ne!(open(&env).unwrap().public(), key.public());
    }
}
