//! Rights, as expressions ask about them.

use futures_util::FutureExt;
use holdfast_cel::kubernetes::authorizer::{Authorizer, Decision, Request, Resource, Target as Asked};
use holdfast_core::{Gvr, Target, UserInfo};
use holdfast_server::{Attributes, Authorizer as HubAuthorizer, Decision as HubDecision, Selected};
use std::sync::Arc;

/// The hub's authorizer, for the user of a request.
pub(super) struct HubAsker {
    authorizer: Arc<dyn HubAuthorizer>,
    user: UserInfo,
}

impl HubAsker {
    pub(super) fn of(authorizer: &Arc<dyn HubAuthorizer>, user: &UserInfo) -> Arc<dyn Authorizer> {
        Arc::new(HubAsker { authorizer: authorizer.clone(), user: user.clone() })
    }
}

fn target(resource: &Resource) -> Target {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
    Target {
        gvr: Gvr::new(&resource.group, "*", &resource.resource),
        namespace: some(&resource.namespace),
        name: some(&resource.name),
        subresource: some(&resource.subresource),
    }
}

impl Authorizer for HubAsker {
    fn authorize(&self, request: &Request) -> Decision {
        let account =
            request.service_account.as_ref().map(|(namespace, name)| UserInfo::service_account(namespace, name));
        let user = account.as_ref().unwrap_or(&self.user);
        let (at, path, selected) = match &request.target {
            Asked::Path(path) => (None, &**path, Selected::default()),
            Asked::Resource(resource) => {
                let selected = Selected::read(&resource.field_selector, &resource.label_selector);
                (Some(target(resource)), "", selected)
            }
        };
        let attributes = Attributes { user, verb: &request.verb, target: at.as_ref(), path };
        // Who decides has all that it needs in memory, so it decides at once: an expression cannot wait.
        match self.authorizer.authorize_selected(&attributes, &selected).now_or_never() {
            Some(HubDecision::Allow) => Decision { allowed: true, ..Decision::default() },
            Some(HubDecision::Deny(reason) | HubDecision::NoOpinion(reason)) => {
                Decision { allowed: false, reason, error: None }
            }
            None => Decision { error: Some("the authorizer did not decide at once".into()), ..Decision::default() },
        }
    }
}
