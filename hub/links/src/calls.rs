//! Reaching into nodes over their connections.

use crate::hub_links::Shared;
use crate::hubs;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Status;
use holdfast_core::calls::{Call, ExecCall, ForwardCall, LogCall, Page, PageCall};
use holdfast_env::session::ExecSession;
use holdfast_env::{BiStream, Connection};
use holdfast_link::Traffic;
use holdfast_server::NodeCalls;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The calls of all connected nodes, also of those that are linked to another hub.
pub(crate) struct LinkCalls(pub(crate) Arc<Shared>);

impl LinkCalls {
    /// The way to a node, and where its bytes are counted: what goes through another hub is counted there.
    async fn way(&self, node: &str) -> Result<(Arc<dyn Connection>, Arc<Traffic>), Status> {
        match (self.0.connection(node), &self.0.hubs) {
            (Some(connection), _) => Ok((connection, self.0.traffic.clone())),
            (None, Some(hubs)) => Ok((hubs::through_another(&self.0, hubs, node).await?, Arc::default())),
            (None, None) => Err(Status::unavailable(format!("node {node:?} is not connected to the hub"), 5)),
        }
    }
}

#[async_trait]
impl NodeCalls for LinkCalls {
    async fn logs(&self, node: &str, call: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        let (connection, traffic) = self.way(node).await?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::logs(&self.0.env, &connection, &traffic, &request, Call::Logs(call)).await
    }

    async fn exec(&self, node: &str, call: ExecCall) -> Result<ExecSession, Status> {
        let (connection, traffic) = self.way(node).await?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::exec(&self.0.env, &connection, &traffic, &request, Call::Exec(call)).await
    }

    async fn forward(&self, node: &str, call: ForwardCall) -> Result<BiStream, Status> {
        let (connection, traffic) = self.way(node).await?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::forward(&self.0.env, &connection, &traffic, &request, call).await
    }
    async fn page(&self, node: &str, call: PageCall) -> Result<Page, Status> {
        let (connection, traffic) = self.way(node).await?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::page(&self.0.env, &connection, &traffic, &request, call).await
    }
}
