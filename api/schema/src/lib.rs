//! The schema table of the served kinds, and what it drives: strict decoding, patches, OpenAPI.
