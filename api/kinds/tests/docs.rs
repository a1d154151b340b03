//! `docs/kinds.md` against the entries.

use holdfast_core::gvk::api_version;
use holdfast_kinds::Support;

#[test]
fn the_page_of_kinds_says_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kinds.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.split('|').skip(1).take(4).map(str::trim).collect())
        .collect();
    let expected: Vec<Vec<String>> = holdfast_kinds::all()
        .iter()
        .map(|kind| {
            let support = match kind.support {
                _ if !kind.is_stored() => "answered",
                Support::Full => "full",
                Support::StoredOnly => "stored only",
            };
            vec![api_version(kind.group, kind.version), kind.kind.into(), kind.plural.into(), support.into()]
        })
        .collect();
    assert_eq!(rows, expected, "docs/kinds.md and holdfast_kinds::all() disagree");
}
