//! Reads Markdown: the parts of a page that the checks look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::workspace;

/// A page, as far as its checks need it.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// The anchors of its headings.
    pub anchors: BTreeSet<String>,
    /// The targets of its links and pictures, in their order.
    pub links: Vec<String>,
    /// Its blocks of code.
    pub blocks: Vec<Block>,
    /// Its tables, each with the row of names first.
    pub tables: Vec<Vec<Vec<Cell>>>,
    /// All code within a line, in tables too.
    pub code: Vec<String>,
}

/// A block of code.
#[derive(Debug, Default, PartialEq)]
pub struct Block {
    /// The words after the fence, the first of which is the language; none if it has no fence.
    pub info: Vec<String>,
    pub code: String,
}

/// A cell of a table.
#[derive(Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    /// The code in it.
    pub code: Vec<String>,
}

impl Block {
    pub fn language(&self) -> &str {
        self.info.first().map_or("", String::as_str)
    }
}

impl Page {
    pub fn of(path: &Path) -> Result<Self> {
        let markdown = fs::read_to_string(path)
            .with_context(|| format!("{} could not be read", path.display()))?;
        Ok(Self::read(&markdown))
    }

    pub fn read(markdown: &str) -> Self {
        let mut page = Self::default();
        let mut headings: BTreeMap<String, usize> = BTreeMap::new();
        // The heading, block or cell that is being read.
        let mut open = Cell::default();
        for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. } | Tag::TableCell) => open = Cell::default(),
                Event::Start(Tag::CodeBlock(kind)) => {
                    open = Cell::default();
                    let mut block = Block::default();
                    if let CodeBlockKind::Fenced(info) = kind {
                        block.info = info.split_whitespace().map(str::to_owned).collect();
                    }
                    page.blocks.push(block);
                }
                Event::Start(Tag::Table(_)) => page.tables.push(Vec::new()),
                Event::Start(Tag::TableHead | Tag::TableRow) => {
                    page.tables.last_mut().expect("a table").push(Vec::new());
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Text(text) => open.text.push_str(&text),
                Event::Code(code) => {
                    open.text.push_str(&code);
                    open.code.push(code.to_string());
                    page.code.push(code.into_string());
                }
                Event::End(TagEnd::Heading(_)) => {
                    let name = anchor(&open.text);
                    let before = headings.entry(name.clone()).or_default();
                    page.anchors.insert(match *before {
                        0 => name,
                        number => format!("{name}-{number}"),
                    });
                    *before += 1;
                }
                Event::End(TagEnd::CodeBlock) => {
                    let block = page.blocks.last_mut().expect("a block");
                    block.code = std::mem::take(&mut open.text);
                }
                Event::End(TagEnd::TableCell) => {
                    let rows = page.tables.last_mut().expect("a table");
                    rows.last_mut()
                        .expect("a row")
                        .push(std::mem::take(&mut open));
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor that GitHub gives to a heading of this text: letters in lower case, blanks as hyphens, all else but
/// digits, hyphens and underlines left out. `-1`, `-2` behind it tell headings of the same text apart.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The documents: README.md, and all of docs/ in the order of their names.
pub fn documents() -> Result<Vec<PathBuf>> {
    let root = workspace::root();
    let mut pages = Vec::new();
    for entry in fs::read_dir(root.join("docs")).context("docs/ could not be read")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages.insert(0, root.join("README.md"));
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        for (heading, expected) in [
            ("What is not protected", "what-is-not-protected"),
            ("dsql_iam.account_id", "dsql_iamaccount_id"),
            ("AWS's connector for Node", "awss-connector-for-node"),
            ("`exempt_roles` and `hba`", "exempt_roles-and-hba"),
            ("The NUL after `DO`, or: 50 %", "the-nul-after-do-or-50-"),
            ("Größe — x", "größe--x"),
        ] {
            let page = Page::read(&format!("# {heading}\n"));
            assert_eq!(page.anchors, BTreeSet::from([expected.to_owned()]));
        }
        let twice = Page::read("# One\n\n# One\n\n# One\n\n```sh\n# no heading\n```\n");
        assert_eq!(
            twice.anchors,
            ["one", "one-1", "one-2"].map(str::to_owned).into()
        );
    }

    #[test]
    fn the_parts_of_a_page_are_told_apart() {
        let page = Page::read(
            "A `word`, [a link](a.md) and ![a picture](b.png).\n\n\
             | a | b |\n|---|---|\n| [`x`](c.md) is | `y`, `z` |\n| one |\n\n\
             ```sh run\na `b`\nc\n```\n\n    d\n",
        );
        assert_eq!(page.links, ["a.md", "b.png", "c.md"]);
        assert_eq!(page.code, ["word", "x", "y", "z"]);
        let texts = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
        let rows: Vec<_> = page.tables[0].iter().map(texts).collect();
        assert_eq!(rows, [["a", "b"], ["x is", "y, z"], ["one", ""]]);
        assert_eq!(page.tables[0][1][1].code, ["y", "z"]);
        assert_eq!(page.blocks[0].info, ["sh", "run"]);
        let code: Vec<&str> = page.blocks.iter().map(|block| &*block.code).collect();
        assert_eq!(code, ["a `b`\nc\n", "d\n"]);
        assert_eq!(page.blocks[1].language(), "");
    }
}
