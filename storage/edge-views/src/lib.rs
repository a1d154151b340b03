//! Views rebuilt from the journal, in sled; may be deleted at any start.
