use holdfast_wasm_host::limits::MAX_ID;
use holdfast_wasm_host::records::{Records, check_id};
use std::fs;

#[test]
fn records_come_back_and_damaged_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path().join("r")).unwrap();
    records.write("a", &"one".to_string()).unwrap();
    records.write("b", &"two".to_string()).unwrap();
    fs::write(dir.path().join("r/b.json"), "{\"version\":1,\"rec").unwrap();
    assert_eq!(records.load::<String>().unwrap(), ["one"]);
    assert!(!dir.path().join("r/b.json").exists());
    records.remove("a").unwrap();
    records.remove("a").unwrap();
    assert!(records.load::<String>().unwrap().is_empty());
}

#[test]
fn ids_stay_inside_their_folder() {
    for bad in ["", "../x", "a/b", ".a", "a b", &"x".repeat(MAX_ID + 1)] {
        assert!(check_id(bad).is_err(), "{bad:?}");
    }
    check_id("0d1c-web-0_1.x").unwrap();
}
