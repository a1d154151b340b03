//! The client trait, and typed access at the rim.

use async_trait::async_trait;
use holdfast_core::{
    DeleteOptions, Gvr, Json, ListOptions, Object, ObjectList, Patch, PatchType, Status, Target, Watch,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The API as one user sees it. The hub's in-process client implements it (authorization, admission and audit
/// run as for anyone), and so does whatever a plugin or a test talks through.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// One object or subresource.
    async fn get(&self, at: &Target) -> Result<Arc<Object>, Status>;
    /// A collection.
    async fn list(&self, at: &Target, options: &ListOptions) -> Result<ObjectList, Status>;
    /// Changes of a collection.
    async fn watch(&self, at: &Target, options: &ListOptions) -> Result<Watch, Status>;
    /// Creates.
    async fn create(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status>;
    /// Replaces; 409 when the body's `resourceVersion` is stale.
    async fn update(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status>;
    /// Patches.
    async fn patch(&self, at: &Target, patch: Patch) -> Result<Arc<Object>, Status>;
    /// Deletes.
    async fn delete(&self, at: &Target, options: &DeleteOptions) -> Result<(), Status>;
}

/// A type of `k8s-openapi` that is an object with a collection.
pub trait TypedResource:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Its resource.
    fn gvr() -> Gvr {
        Gvr::new(Self::GROUP, Self::VERSION, Self::URL_PATH_SEGMENT)
    }
}

impl<T> TypedResource for T where
    T: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Typed calls over a [`Client`].
#[derive(Clone)]
pub struct TypedClient(pub Arc<dyn Client>);

impl TypedClient {
    /// One object.
    pub async fn get<T: TypedResource>(&self, namespace: &str, name: &str) -> Result<T, Status> {
        self.0.get(&Target::object(T::gvr(), namespace, name)).await?.to_typed()
    }

    /// A collection.
    pub async fn list<T: TypedResource>(&self, namespace: &str, options: &ListOptions) -> Result<Vec<T>, Status> {
        let list = self.0.list(&Target::collection(T::gvr(), namespace), options).await?;
        list.items.iter().map(|object| object.to_typed()).collect()
    }

    /// Creates `object` in its namespace.
    pub async fn create<T: TypedResource>(&self, object: &T) -> Result<T, Status> {
        let at = Target::collection(T::gvr(), object.metadata().namespace.as_deref().unwrap_or_default());
        self.0.create(&at, to_json(object)?).await?.to_typed()
    }

    /// Replaces `object`.
    pub async fn update<T: TypedResource>(&self, object: &T) -> Result<T, Status> {
        self.0.update(&target(object), to_json(object)?).await?.to_typed()
    }

    /// Replaces the status of `object`.
    pub async fn update_status<T: TypedResource>(&self, object: &T) -> Result<T, Status> {
        self.0.update(&target(object).with_subresource("status"), to_json(object)?).await?.to_typed()
    }

    /// Merges `body` into an object (RFC 7386).
    pub async fn merge<T: TypedResource>(&self, namespace: &str, name: &str, body: Json) -> Result<T, Status> {
        let patch = Patch { patch_type: PatchType::Merge, body };
        self.0.patch(&Target::object(T::gvr(), namespace, name), patch).await?.to_typed()
    }

    /// Deletes an object; fine when it is gone.
    pub async fn delete<T: TypedResource>(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        match self.0.delete(&Target::object(T::gvr(), namespace, name), options).await {
            Err(status) if status.is(holdfast_core::Reason::NotFound) => Ok(()),
            other => other,
        }
    }
}

fn target<T: TypedResource>(object: &T) -> Target {
    let meta = object.metadata();
    Target::object(T::gvr(), meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn to_json<T: TypedResource>(object: &T) -> Result<Json, Status> {
    serde_json::to_value(object).map_err(Status::internal)
}
