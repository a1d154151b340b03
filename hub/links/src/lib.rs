//! The hub's side of the links: sessions, fact transactions, node life cycle.
