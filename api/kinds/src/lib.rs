//! What each kind is called, how it is shown, and what it references: pure data and functions.
