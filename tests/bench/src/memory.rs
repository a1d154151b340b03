//! Memory of a process at idle, as figures.

use crate::figure::Figure;
use crate::process::Pss;

/// PSS, and of it what is anonymous (the heap) and what are pages of files (mostly the program itself).
pub(crate) fn print(what: &str, pss: &Pss) {
    for (part, kib) in [("PSS", pss.all), ("PSS anon", pss.anon), ("PSS file", pss.file)] {
        Figure::new(format!("{what}: {part}"), kib as f64 / 1024.0, "MiB", 1).print();
    }
}
