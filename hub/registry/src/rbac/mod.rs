//! Who may do what: nodes by what their pods need, everyone by RBAC.
//!
//! [`RbacAuthorizer`] keeps a compiled copy of all roles and bindings, fed by a watch. Task: one, owned by the
//! authorizer, reads the watch and swaps the compiled policy; it ends with the authorizer.

mod cache;
mod node;
mod policy;
pub(crate) mod rules;

use crate::engine::Engine;
use async_trait::async_trait;
use holdfast_core::Status;
use holdfast_core::user::MASTERS;
use holdfast_env::Task;
use holdfast_server::{Attributes, Authorizer, Decision, Selected};
use policy::Policy;
use std::sync::{Arc, PoisonError, RwLock};

/// The policy as it was last compiled.
pub(crate) type SharedPolicy = Arc<RwLock<Arc<Policy>>>;

/// Judges by group `system:masters`, then as a node, then by roles.
pub struct RbacAuthorizer {
    engine: Arc<Engine>,
    policy: SharedPolicy,
    _watcher: Task,
}

impl RbacAuthorizer {
    /// Reads all roles and bindings and follows their changes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn start(engine: Arc<Engine>) -> Result<Arc<RbacAuthorizer>, Status> {
        let mut cache = cache::Cache::load(&engine).await?;
        let policy: SharedPolicy = Arc::new(RwLock::new(Arc::new(cache.compile())));
        let (shared, owner) = (policy.clone(), engine.clone());
        let watcher = engine.env.spawn("rbac", Box::pin(async move { cache.follow(&owner, &shared).await }));
        Ok(Arc::new(RbacAuthorizer { engine, policy, _watcher: watcher }))
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Authorizer for RbacAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.authorize_selected(attributes, &Selected::default()).await
    }

    /// Roles know no selectors: whoever holds a right holds it for the whole collection.
    async fn authorize_selected(&self, attributes: &Attributes<'_>, selected: &Selected) -> Decision {
        let user = attributes.user;
        if user.is_in(MASTERS) {
            return Decision::Allow;
        }
        let mut reason = String::new();
        if let Some(node) = user.node_name() {
            match node::authorize(&self.engine, node, attributes, selected).await {
                Decision::NoOpinion(why) => reason = why,
                decided => return decided,
            }
        }
        if self.policy().allows(attributes) {
            return Decision::Allow;
        }
        Decision::NoOpinion(reason)
    }

    async fn reason(&self, attributes: &Attributes<'_>) -> String {
        if attributes.user.is_in(MASTERS) {
            return String::new();
        }
        self.policy().reason(attributes).unwrap_or_default()
    }
}
