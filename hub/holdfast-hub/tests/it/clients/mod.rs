//! Clients that others wrote, against a real hub without nodes. `cargo xtask test clients` names them in the environment,
//! and then they must run; else their tests are skipped, and say so.

mod helm;
mod kube;
mod python;

/// The program that a variable names.
fn program(variable: &str) -> Option<String> {
    let named = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if named.is_none() {
        eprintln!("skipped: {variable} is not set; `cargo xtask test clients` sets it");
    }
    named
}

/// Something of the repository.
fn fixture(path: &str) -> String {
    format!("{}/../../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))
}
