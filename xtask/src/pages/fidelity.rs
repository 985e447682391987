//! docs/fidelity.md names a test for each behaviour. Each row has to have one, or to say why it has none,
//! and each test that is named has to exist: one that is renamed or taken out leaves a claim behind.

use std::fs;
use std::path::{Path, PathBuf};

use super::page::{Cell, Page};
use crate::workspace;

/// The rows that have a column of tests, which is the last.
fn rows(page: &Page) -> impl Iterator<Item = &Vec<Cell>> {
    let with_tests = page.tables.iter().filter(|table| {
        let names = table.first();
        names
            .and_then(|names| names.last())
            .is_some_and(|name| name.text == "test")
    });
    with_tests.flat_map(|table| &table[1..])
}

/// The file that a test is in, and how it is defined there; `None` for a command.
fn place(root: &Path, test: &str) -> Option<(PathBuf, Option<String>)> {
    if test.starts_with("cargo xtask ") {
        return None;
    }
    if test == "policy_conformance" {
        return Some((root.join("iam/tests/policy_conformance.rs"), None));
    }
    if test.ends_with(".json") {
        let cases = root.join("iam/tests/data/policy_conformance");
        return Some((cases.join(test), None));
    }
    if test.ends_with(".sql") {
        return Some((root.join("pgrx-tests/sql").join(test), None));
    }
    // A case of a test is in brackets behind it.
    let test = test.split('[').next().unwrap_or(test);
    let (module, name) = test.rsplit_once("::").unwrap_or((test, ""));
    let rust = |path: PathBuf| (path, Some(format!("fn {name}(")));
    let modules: Vec<&str> = module.split("::").collect();
    Some(match modules.as_slice() {
        ["mappings.rs"] => rust(root.join("tests/rust/tests/mappings.rs")),
        ["login"] => rust(root.join("iam/tests/login.rs")),
        [package @ ("iam" | "server" | "cli"), modules @ ..] => {
            let source = root.join(package).join("src").join(modules.join("/"));
            // In the module's file, or beside it if there are many.
            let file = source.with_extension("rs");
            let places = [file, source.join("tests.rs"), source.join("mod.rs")];
            let definition = format!("fn {name}(");
            let has = |path: &&PathBuf| {
                fs::read_to_string(path).is_ok_and(|text| text.contains(&definition))
            };
            rust(places.iter().find(has).unwrap_or(&places[0]).clone())
        }
        ["simulate"] => rust(root.join("cli/src/command/simulate/tests.rs")),
        _ => {
            let file = match module {
                "page" => "reference_page",
                "lost" => "nothing_lost",
                other => other,
            };
            let path = root.join(format!("tests/python/test_{file}.py"));
            (path, (!name.is_empty()).then(|| format!("def {name}(")))
        }
    })
}

/// The faults of the page.
fn faults(root: &Path, page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for row in rows(page) {
        let [behaviour, .., tests] = row.as_slice() else {
            continue;
        };
        if tests.text.starts_with("none: ") {
            continue;
        }
        if tests.code.is_empty() {
            faults.push(format!("no test: {}", behaviour.text));
        }
        let others = tests.code.iter().filter(|test| !is_path(test));
        faults.extend(gone(root, others));
    }
    // Tests are named in other tables and between them too.
    let named = page.code.iter().filter(|code| is_path(code));
    faults.extend(gone(root, named));
    faults
}

/// A sentence for each of these tests that does not exist.
fn gone<'t>(root: &Path, tests: impl Iterator<Item = &'t String>) -> impl Iterator<Item = String> {
    let gone = tests.filter(move |test| !is_there(root, test));
    gone.map(|test| format!("no such test: {test}"))
}

/// Whether it looks like the name of a test in a module: `::1` does not.
fn is_path(text: &str) -> bool {
    let name = text.split('[').next().unwrap_or(text);
    let is_word = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_lowercase())
            && part
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || "_.".contains(it))
    };
    name.contains("::") && name.split("::").all(is_word)
}

/// Whether there is such a test; and if a case of it is named, whether that is there.
fn is_there(root: &Path, test: &str) -> bool {
    let Some((path, definition)) = place(root, test) else {
        return true;
    };
    let case = test
        .split_once('[')
        .map(|(_, case)| case.trim_end_matches(']'));
    let table = fs::read_to_string(root.join("tests/refusals.json")).unwrap_or_default();
    fs::read_to_string(path).is_ok_and(|text| {
        definition.is_none_or(|it| text.contains(&it))
            && case.is_none_or(|it| text.contains(it) || table.contains(it))
    })
}

#[test]
fn each_behaviour_names_a_test_that_exists() {
    let root = workspace::root();
    let page = Page::of(&root.join("docs/fidelity.md")).unwrap();
    assert!(rows(&page).count() > 100);
    assert_eq!(faults(root, &page), Vec::<String>::new());
}

#[test]
fn a_row_without_a_test_and_a_test_that_is_gone_are_faults() {
    let page = "\
| behaviour | here | test |
|---|---|---|
| a | same | `page::test_an_iam_role` |
| b | same | none yet |
| c | same | none: there is nothing to test |
| d | same | `page::test_that_is_gone`, `iam::sigv4::token::the_longest_life_is_a_week` |
| e | same | `iam::sigv4::token::gone` |
| f | same | |
| g | same | `refusals::test_token[no such case]`, `refusals::test_token[another database]` |

| setting | value |
|---|---|
| h | `no test`, `::1`, `lost::test_of_another_table` |

Between them: `iam::gone::too`, `mappings.rs::only_admin_grants`.
";
    assert_eq!(
        faults(workspace::root(), &Page::read(page)),
        [
            "no test: b",
            "no test: f",
            "no such test: page::test_that_is_gone",
            "no such test: iam::sigv4::token::gone",
            "no such test: refusals::test_token[no such case]",
            "no such test: lost::test_of_another_table",
            "no such test: iam::gone::too",
        ]
    );
}
