//! Reconcile, queue, informers and the client trait.
