//! The object model: raw objects, metadata, selectors, quantities, field paths, Status.
