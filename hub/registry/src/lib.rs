//! The kinds as the hub serves them: strategy, defaulting, validation, admission, storage.
