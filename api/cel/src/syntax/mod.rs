//! From text to a tree, and back to text.
//!
//! The grammar is that of the CEL specification ("langdef", section "Syntax"), with cel-go's optional syntax. What
//! comes out still has its macros, so that it can be printed as it was written; [`expand()`] replaces them.

pub(crate) mod ast;
mod expand;
mod lexer;
mod literal;
mod parser;
mod print;

pub(crate) use expand::expand;
pub(crate) use parser::parse;
pub(crate) use print::print;

/// Where something is wrong, in code points, and what.
pub(crate) type Wrong = (u32, String);

/// Parses an expression and writes it again in one canonical way. Parsing that gives the same tree.
///
/// # Errors
/// The syntax errors, with their places.
pub fn normal_form(source: &str) -> Result<String, Vec<crate::Issue>> {
    match parse(source) {
        Ok(tree) => Ok(print(&tree)),
        Err(wrong) => Err(crate::issue::Issues::all(source, wrong)),
    }
}
