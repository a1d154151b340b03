//! How the object model is spoken over HTTP: negotiation, watch streams, WebSocket, generic handlers.
