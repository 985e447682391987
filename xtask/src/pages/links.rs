//! Each link of README.md, CHANGELOG.md and the pages in docs/ leads to a file of the project, and with an anchor to
//! a heading of that page. Addresses on the network are not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::page::{Page, documents};
use crate::workspace;

/// A sentence for each link of `documents` that leads nowhere. All of them are in the folder `root`.
fn dead_links(root: &Path, documents: &[PathBuf]) -> Vec<String> {
    let mut problems = Vec::new();
    for document in documents {
        let name = document
            .strip_prefix(root)
            .unwrap_or(document)
            .display()
            .to_string();
        let page = match Page::of(document) {
            Ok(page) => page,
            Err(error) => {
                problems.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        for link in &page.links {
            if let Err(fault) = follow(root, document, &page, link) {
                problems.push(format!("{name}: {link}: {fault}"));
            }
        }
    }
    problems
}

/// Looks whether a link leads somewhere; says what is wrong if not.
fn follow(root: &Path, document: &Path, page: &Page, link: &str) -> Result<(), String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(());
    }
    let (path, fragment) = match link.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment)),
        None => (link, None),
    };
    if path.is_empty() {
        return match fragment {
            Some(fragment) if page.anchors.contains(fragment) => Ok(()),
            Some(_) => Err("this page has no such heading".to_owned()),
            None => Err("it is empty".to_owned()),
        };
    }
    let folder = document.parent().unwrap_or(root);
    let target = resolve(&folder.join(path));
    if Path::new(path).is_absolute() || !target.starts_with(root) {
        return Err("it leads out of the project".to_owned());
    }
    if !target.exists() {
        return Err("there is no such file".to_owned());
    }
    let Some(fragment) = fragment else {
        return Ok(());
    };
    if target.extension().is_none_or(|extension| extension != "md") {
        return Err("only pages have anchors that last".to_owned());
    }
    let page = Page::of(&target).map_err(|error| format!("{error:#}"))?;
    if page.anchors.contains(fragment) {
        Ok(())
    } else {
        Err("that page has no such heading".to_owned())
    }
}

/// The path without `.` and `..`, by its words alone: a browser does not follow symbolic links either.
fn resolve(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            component => resolved.push(component),
        }
    }
    resolved
}

#[test]
fn every_link_leads_somewhere() {
    let root = workspace::root();
    let mut documents = documents().unwrap();
    documents.push(root.join("CHANGELOG.md"));
    assert!(documents.len() > 10, "{documents:?}");
    let problems = dead_links(root, &documents);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A map that lacks a room is no map.
#[test]
fn the_map_has_each_module() {
    let root = workspace::root();
    let page = root.join("docs/architecture.md");
    let links = Page::of(&page).unwrap().links;
    let mapped: BTreeSet<PathBuf> = links
        .iter()
        .map(|link| resolve(&root.join("docs").join(link)))
        .collect();
    let mut folders = vec![
        root.join("src"),
        root.join("iam/src"),
        root.join("server/src"),
        root.join("cli/src"),
    ];
    let mut missing = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !mapped.contains(&path) {
                missing.push(path);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/architecture.md does not name {missing:?}"
    );
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("docs")).unwrap();
    fs::write(root.join("code.rs"), "").unwrap();
    fs::write(root.join("docs/other.md"), "# There *it* is\n").unwrap();
    let page = root.join("docs/page.md");
    let faults = |link: &str| {
        fs::write(&page, format!("# Here\n\n| a |\n|---|\n| [x]({link}) |\n")).unwrap();
        dead_links(root, std::slice::from_ref(&page))
    };
    for good in [
        "#here",
        "other.md",
        "./other.md#there-it-is",
        "../code.rs",
        "../docs",
        "https://example.com/#nothing",
    ] {
        assert_eq!(faults(good), [""; 0], "{good}");
    }
    for (bad, fault) in [
        ("#there", "this page has no such heading"),
        ("gone.md", "there is no such file"),
        ("code.rs", "there is no such file"),
        ("other.md#here", "that page has no such heading"),
        ("other.md#There-it-is", "that page has no such heading"),
        ("../code.rs#L1", "only pages have anchors that last"),
        ("../../outside.md", "it leads out of the project"),
        ("/etc/passwd", "it leads out of the project"),
        ("", "it is empty"),
    ] {
        assert_eq!(faults(bad), [format!("docs/page.md: {bad}: {fault}")]);
    }
    fs::write(&page, "[x][r] ![p](gone.png)\n\n[r]: gone.md\n").unwrap();
    assert_eq!(dead_links(root, &[page]).len(), 2);
    assert!(dead_links(root, &[root.join("docs/none.md")])[0].contains("docs/none.md: "));
}
