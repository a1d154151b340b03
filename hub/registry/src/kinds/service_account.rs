//! core/v1 ServiceAccount.

use crate::strategy::Strategy;

/// core/v1 ServiceAccount. Upstream checks its metadata only.
pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {}
