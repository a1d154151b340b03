//! The lineage of the hub's store: a random number, made once, changed by a restore.

use holdfast_core::Lineage;
use holdfast_env::World;
use holdfast_store::{Check, Condition, Op, Store, StoreError, Txn, TxnOutcome};

const KEY: &str = "/holdfast/lineage";

/// Reads the lineage, making one in an empty store.
///
/// # Errors
/// The store's.
pub async fn ensure(store: &dyn Store, env: &World) -> Result<Lineage, StoreError> {
    loop {
        if let Some(record) = store.get(KEY).await? {
            let text = std::str::from_utf8(&record.value).unwrap_or_default();
            return u128::from_str_radix(text, 16)
                .map(Lineage)
                .map_err(|_| StoreError::Failed("the store's lineage is damaged".into()));
        }
        let lineage = Lineage(u128::from(env.random_u64()) << 64 | u128::from(env.random_u64()));
        let txn = Txn {
            checks: vec![Check { key: KEY.into(), condition: Condition::Absent }],
            ops: vec![Op::Put { key: KEY.into(), value: lineage.to_string().into() }],
        };
        if let TxnOutcome::Committed { .. } = store.txn(txn).await? {
            return Ok(lineage);
        }
    }
}
