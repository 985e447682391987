//! Every command that README.md shows has to be one that some test runs.
//!
//! Code blocks with the info string `sh run` are run here, as they stand, with the server's
//! environment. Each command of any other `sh` block has a line in `tests/readme-covered.txt`: the
//! command, a tab, and the test that runs it (a path, and `::name` after it if that helps). A line
//! there for a command that README.md no longer has is an error too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::{run, workspace};

/// The shell commands of a document.
#[derive(Debug, Default, PartialEq)]
struct Commands {
    /// Whole blocks, to be run.
    run: Vec<String>,
    /// Single commands, to be covered.
    covered: BTreeSet<String>,
}

/// Checks the commands of README.md, and runs those it should.
pub fn run(variables: &BTreeMap<String, OsString>) -> Result<()> {
    let root = workspace::root();
    let page = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("{name} could not be read"))
    };
    let readme = format!("{}\n{}", page("README.md")?, page("docs/install.md")?);
    let list = fs::read_to_string(root.join("tests/readme-covered.txt")).unwrap_or_default();
    let commands = commands(&readme);
    let mut problems = uncovered(&commands.covered, &list, root);

    for block in &commands.run {
        println!("{}", block.trim_end());
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", block])
            .current_dir(root)
            .envs(variables);
        if let Err(error) = run::run(&mut bash) {
            problems.push(format!("{error}, running:\n{block}"));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Takes Markdown apart.
fn commands(markdown: &str) -> Commands {
    let mut commands = Commands::default();
    let mut block: Option<(bool, String)> = None;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let mut words = info.split_whitespace();
                if words.next() == Some("sh") {
                    block = Some((words.any(|word| word == "run"), String::new()));
                }
            }
            Event::Text(text) => {
                if let Some((_, code)) = &mut block {
                    code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => match block.take() {
                Some((true, code)) => commands.run.push(code),
                Some((false, code)) => commands.covered.extend(lines(&code)),
                None => {}
            },
            _ => {}
        }
    }
    commands
}

/// The commands of a block: its lines, those that end in a backslash joined with the next, without
/// empty ones and comments.
fn lines(code: &str) -> Vec<String> {
    code.replace("\\\n", " ")
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Compares the commands with the list of those that tests run, gives a sentence for each problem.
fn uncovered(commands: &BTreeSet<String>, list: &str, root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let mut listed = BTreeSet::new();
    for line in list
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let Some((command, test)) = line.split_once('\t') else {
            problems.push(format!(
                "readme-covered.txt: no tab and no test after: {line}"
            ));
            continue;
        };
        let test = test.trim();
        let file = test.split_once("::").map_or(test, |(file, _)| file);
        if !root.join(file).is_file() {
            problems.push(format!("readme-covered.txt: there is no test {test}"));
        }
        listed.insert(command.to_owned());
    }
    for command in commands.difference(&listed) {
        problems.push(format!("README.md: no test is known to run: {command}"));
    }
    for command in listed.difference(commands) {
        problems.push(format!(
            "readme-covered.txt: README.md no longer has: {command}"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "\
# Title

```sh run
echo one
echo two
```

```sh
# a comment
cargo xtask up \\
  --detach
```

```sql
SELECT 1;
```
";

    #[test]
    fn blocks_are_told_apart() {
        let commands = commands(README);
        assert_eq!(commands.run, ["echo one\necho two\n"]);
        assert_eq!(
            commands.covered,
            BTreeSet::from(["cargo xtask up --detach".to_owned()])
        );
    }

    #[test]
    fn the_list_has_to_fit_the_readme() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test_up.py"), "").unwrap();
        let problems = |list: &str| {
            let problems = uncovered(&commands(README).covered, list, folder.path());
            problems.join("\n")
        };
        assert_eq!(
            problems("cargo xtask up --detach\ttest_up.py::test_it\n"),
            ""
        );
        assert!(problems("").contains("no test is known to run: cargo xtask up --detach"));
        let stale = "cargo xtask up --detach\ttest_up.py\ncargo xtask fly\ttest_up.py\n";
        assert!(problems(stale).contains("no longer has: cargo xtask fly"));
        assert!(problems("cargo xtask up --detach\tgone.py").contains("there is no test gone.py"));
    }
}
