//! docs/fidelity.md names a test for each behaviour. Each row has to have one, or to say why it has none,
//! and each test that is named has to exist: one that is renamed or taken out leaves a claim behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace;

/// Whether the last column of this table holds tests, by the row of its names.
fn has_tests(names: &str) -> bool {
    cells(names).last().is_some_and(|name| *name == "test")
}

/// The cells of a row. A bar inside of one is not used there.
fn cells(row: &str) -> Vec<&str> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// What is between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows that have a column of tests.
fn rows(page: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut in_table = false;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let is_row = line.starts_with('|');
        if is_row && lines.peek().is_some_and(|next| next.starts_with("|---")) {
            in_table = has_tests(line);
            lines.next();
        } else if is_row && in_table {
            rows.push(line);
        }
    }
    rows
}

/// The file that a test is in, and how it is defined there; `None` for what is no file's.
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

/// What is wrong with the page, row by row.
fn faults(root: &Path, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for row in rows(page) {
        let cells = cells(row);
        let (Some(behaviour), Some(tests)) = (cells.first(), cells.last()) else {
            continue;
        };
        if tests.starts_with("none: ") {
            continue;
        }
        if quoted(tests).next().is_none() {
            faults.push(format!("no test: {behaviour}"));
        }
        for test in quoted(tests).filter(|test| !is_path(test)) {
            if !is_there(root, test) {
                faults.push(format!("no such test: {test}"));
            }
        }
    }
    // Tests are named in other tables and between them too.
    for test in quoted(page).filter(|test| is_path(test)) {
        if !is_there(root, test) {
            faults.push(format!("no such test: {test}"));
        }
    }
    faults
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
    let page = fs::read_to_string(root.join("docs/fidelity.md")).unwrap();
    assert!(rows(&page).len() > 100);
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
        faults(workspace::root(), page),
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
