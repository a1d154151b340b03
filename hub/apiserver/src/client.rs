//! The in-process client: a user's requests, past the HTTP codec but through everything else.

use async_trait::async_trait;
use holdfast_controller::Client;
use holdfast_core::{
    DeleteOptions, Json, ListOptions, Object, ObjectList, Patch, PatchType, Status, Target, UserInfo, Watch,
    WriteOptions,
};
use holdfast_env::World;
use holdfast_server::{Api, Operation, Reply, Request, RequestContext};
use std::any::Any;
use std::sync::Arc;

/// The API as `user` sees it, without a network between. Authorization, admission and validation run as for anyone.
#[derive(Clone)]
pub struct LocalClient {
    api: Arc<Api>,
    world: World,
    user: UserInfo,
    extension: Option<Arc<dyn Any + Send + Sync>>,
}

impl LocalClient {
    /// A client that acts as `user`; its name also names the field manager.
    pub fn new(api: Arc<Api>, world: World, user: UserInfo) -> LocalClient {
        LocalClient { api, world, user, extension: None }
    }

    /// The same API, for another user.
    #[must_use]
    pub fn acting_as(self, user: UserInfo) -> LocalClient {
        LocalClient { user, ..self }
    }

    /// The same, with something for the registry in each request: what is to commit with each of its writes
    /// (`holdfast_registry::CommitWith`).
    #[must_use]
    pub fn with_extension(self, extension: impl Any + Send + Sync) -> LocalClient {
        LocalClient { extension: Some(Arc::new(extension)), ..self }
    }

    async fn call(&self, at: &Target, operation: Operation) -> Result<Reply, Status> {
        let mut cx = RequestContext::new(self.user.clone(), self.world.random_uuid());
        cx.extension.clone_from(&self.extension);
        self.api.call(Request { cx, target: at.clone(), operation }).await
    }

    async fn object(&self, at: &Target, operation: Operation) -> Result<Arc<Object>, Status> {
        match self.call(at, operation).await? {
            Reply::Object { object, .. } => Ok(object),
            _ => Err(unexpected()),
        }
    }

    fn options(&self, patch: Option<PatchType>) -> WriteOptions {
        let name = self.user.name.rsplit(':').next().unwrap_or_default();
        WriteOptions {
            field_manager: name.to_string(),
            force: patch == Some(PatchType::Apply),
            ..WriteOptions::default()
        }
    }
}

fn unexpected() -> Status {
    Status::internal("the API answered with another sort of reply than was asked for")
}

#[async_trait]
impl Client for LocalClient {
    async fn get(&self, at: &Target) -> Result<Arc<Object>, Status> {
        self.object(at, Operation::Get).await
    }

    async fn list(&self, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        match self.call(at, Operation::List(options.clone())).await? {
            Reply::List(list) => Ok(list),
            _ => Err(unexpected()),
        }
    }

    async fn watch(&self, at: &Target, options: &ListOptions) -> Result<Watch, Status> {
        match self.call(at, Operation::Watch(options.clone())).await? {
            Reply::Watch(watch) => Ok(watch),
            _ => Err(unexpected()),
        }
    }

    async fn create(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status> {
        self.object(at, Operation::Create { body, options: self.options(None) }).await
    }

    async fn update(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status> {
        self.object(at, Operation::Update { body, options: self.options(None) }).await
    }

    async fn patch(&self, at: &Target, patch: Patch) -> Result<Arc<Object>, Status> {
        let options = self.options(Some(patch.patch_type));
        self.object(at, Operation::Patch { patch, options }).await
    }

    async fn delete(&self, at: &Target, options: &DeleteOptions) -> Result<(), Status> {
        self.call(at, Operation::Delete(options.clone())).await.map(|_| ())
    }
}
