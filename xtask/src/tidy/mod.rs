//! `tidy`: arrows between crates as DESIGN §2 draws them, and the house rules that a program can check.

pub(crate) mod arrows;
mod conformance;
mod files;

use anyhow::{Result, bail};

pub(crate) fn tidy() -> Result<()> {
    let metadata = arrows::Metadata::read()?;
    let mut problems = arrows::check(&metadata);
    let root = crate::place::root();
    let (file_problems, notes) = files::check(&root)?;
    problems.extend(file_problems);
    problems.extend(conformance::check(&root, crate::test::reference().as_deref())?);
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    if !problems.is_empty() {
        problems.iter().for_each(|problem| eprintln!("tidy: {problem}"));
        bail!("{} problems", problems.len());
    }
    println!("tidy: {} crates, no problems", metadata.members().count());
    Ok(())
}
