//! Text that is borrowed or shared.

use std::ops::Deref;
use std::sync::Arc;

/// Text of a document or program, or made by evaluation.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Of a document or program.
    Borrowed(&'a str),
    /// Made by evaluation.
    Shared(Arc<str>),
}

impl Text<'_> {
    /// Its length in code points.
    pub(crate) fn char_count(&self) -> usize {
        if self.is_ascii() { self.len() } else { self.chars().count() }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}
