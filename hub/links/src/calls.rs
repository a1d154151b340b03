//! Reaching into nodes over their connections.

use crate::hub_links::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Status;
use holdfast_core::calls::{Call, ExecCall, ForwardCall, LogCall, Page, PageCall};
use holdfast_env::session::ExecSession;
use holdfast_env::{BiStream, Connection};
use holdfast_server::NodeCalls;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The calls of all connected nodes.
pub(crate) struct LinkCalls(pub(crate) Arc<Shared>);

impl LinkCalls {
    fn connection(&self, node: &str) -> Result<Arc<dyn Connection>, Status> {
        let connection = self.0.connection(node);
        connection.ok_or_else(|| Status::unavailable(format!("node {node:?} is not connected to the hub"), 5))
    }
}

#[async_trait]
impl NodeCalls for LinkCalls {
    async fn logs(&self, node: &str, call: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        let connection = self.connection(node)?;
        holdfast_link::call::logs(
            &self.0.env,
            &connection,
            &self.0.traffic,
            &self.0.env.random_uuid(),
            Call::Logs(call),
        )
        .await
    }

    async fn exec(&self, node: &str, call: ExecCall) -> Result<ExecSession, Status> {
        let connection = self.connection(node)?;
        holdfast_link::call::exec(
            &self.0.env,
            &connection,
            &self.0.traffic,
            &self.0.env.random_uuid(),
            Call::Exec(call),
        )
        .await
    }

    async fn forward(&self, node: &str, call: ForwardCall) -> Result<BiStream, Status> {
        let connection = self.connection(node)?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::forward(&self.0.env, &connection, &self.0.traffic, &request, call).await
    }
    async fn page(&self, node: &str, call: PageCall) -> Result<Page, Status> {
        let connection = self.connection(node)?;
        let request = self.0.env.random_uuid();
        holdfast_link::call::page(&self.0.env, &connection, &self.0.traffic, &request, call).await
    }
}
