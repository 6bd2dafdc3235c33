//! `docs/worker.md` lists the faults there are.

use warmroute_worker::emulated::faults::FAULTS;

#[test]
fn the_docs_list_every_fault_and_no_other() {
    let page = include_str!("../../../../docs/worker.md");
    let (_, section) = page.split_once("### What goes wrong on purpose").unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> =
        FAULTS.iter().map(|info| format!("| `{}` | {} |", info.name, info.about)).collect();
    assert_eq!(rows, expected);
}
