//! Reference pages that are written from declarations: a test compares, and writes them anew when told to.

/// Fails if the page `docs/name` is not `wanted`; writes it instead where `WARMROUTE_UPDATE_DOCS` is set.
pub(crate) fn check(name: &str, wanted: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("WARMROUTE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{name} is not what the code declares; hint: WARMROUTE_UPDATE_DOCS=1 cargo test -p warmroute-gateway --lib"
    );
}

/// The same for the part of a page between `<!-- name -->` and `<!-- end -->`.
pub(crate) fn check_part(page: &str, name: &str, wanted: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/{page} has no part {name}"));
    let (_, after) =
        rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{name} in docs/{page} has no end"));
    check(page, &format!("{before}{begin}{wanted}<!-- end -->{after}"));
}

/// The text of every source file below a folder.
fn sources(folder: &std::path::Path, all: &mut String) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be read to its end").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *all += &std::fs::read_to_string(&path).unwrap_or_default();
        }
    }
}

#[test]
fn the_page_of_errors_lists_every_code_and_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "../openai/src"] {
        sources(&root.join(folder), &mut code);
    }
    let made: std::collections::BTreeSet<&str> =
        code.split(".with_code(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let page = std::fs::read_to_string(root.join("../../docs/errors.md")).unwrap_or_default();
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(made.difference(&listed).collect::<Vec<_>>(), Vec::<&&str>::new(), "not in docs/errors.md");
    assert_eq!(listed.difference(&made).collect::<Vec<_>>(), Vec::<&&str>::new(), "in docs/errors.md only");
}
