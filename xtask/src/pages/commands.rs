//! Each command that README.md and docs/ show is one that some test runs.
//!
//! A block whose info string says `run` is run as it stands (`programs.rs`). `since=17` after it leaves the block out
//! on an older PostgreSQL; a program in Rust is built with the dependencies of the last `toml` block before it.
//!
//! Each command of any other `sh` block, unless a block that is run has it too, and each statement of a `sql` block has
//! a line in `tests/readme-covered.txt`: the command, a tab, and the test that runs it (a path, and `::` with the name
//! of a function in that file, if that helps). The words of the command have to be in that file, outside of comments;
//! paths and versions, which are others in a test, do not count. `not run: ` and a reason stand for the test where
//! nothing can run it. A line for a command that no page has is an error, and so is a command in a block of `text`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::page::{Page, documents};
use crate::workspace;

/// The commands of a page, or of all.
#[derive(Debug, Default, PartialEq)]
pub struct Commands {
    /// Whole blocks, to be run.
    pub run: Vec<Program>,
    /// Single commands, to be covered.
    covered: BTreeSet<String>,
    /// Commands where nobody would look for them.
    hidden: Vec<String>,
}

/// A block to be run.
#[derive(Debug, Default, PartialEq)]
pub struct Program {
    pub language: String,
    /// The oldest major version of PostgreSQL that it is for.
    pub since: u32,
    /// The dependencies in its Cargo.toml, for Rust.
    pub dependencies: String,
    pub code: String,
}

/// The commands of all documents.
pub fn all() -> Result<Commands> {
    let mut all = Commands::default();
    for document in documents()? {
        let commands = commands(&Page::of(&document)?);
        all.run.extend(commands.run);
        all.covered.extend(commands.covered);
        all.hidden.extend(commands.hidden);
    }
    for block in all.run.iter().filter(|block| block.language == "sh") {
        for line in lines(&block.code) {
            all.covered.remove(&line);
        }
    }
    Ok(all)
}

/// The list of the commands that other tests run.
pub fn list() -> Result<String> {
    let path = workspace::root().join("tests/readme-covered.txt");
    fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))
}

/// The commands of a page.
fn commands(page: &Page) -> Commands {
    let mut commands = Commands::default();
    let mut dependencies = String::new();
    for block in &page.blocks {
        if block.info.iter().any(|word| word == "run") {
            let mut words = block.info.iter();
            let since = words.find_map(|word| word.strip_prefix("since="));
            commands.run.push(Program {
                language: block.language().to_owned(),
                since: since.and_then(|since| since.parse().ok()).unwrap_or(0),
                dependencies: dependencies.clone(),
                code: block.code.clone(),
            });
            continue;
        }
        match block.language() {
            "sh" => commands.covered.extend(lines(&block.code)),
            "sql" => commands.covered.extend(statements(&block.code)),
            "text" => commands
                .hidden
                .extend(block.code.lines().filter_map(hidden)),
            "toml" => dependencies.clone_from(&block.code),
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

/// The statements of a block of SQL, each with its semicolon.
fn statements(code: &str) -> Vec<String> {
    code.split_inclusive(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// A line of a block of `text` that begins with a command: a reader would type it. With a prompt before it, it
/// shows a session.
fn hidden(line: &str) -> Option<String> {
    const PROGRAMS: &str = "apt-get aws cargo chmod cp curl docker dsql-iam export go npm pip psql source sudo \
                            update-ca-certificates";
    let program = line.split_whitespace().next()?;
    let mut programs = PROGRAMS.split(' ');
    programs
        .any(|it| it == program)
        .then(|| line.trim().to_owned())
}

/// Compares the commands with the list of those that tests run; gives a sentence for each problem.
pub fn uncovered(all: &Commands, list: &str, root: &Path) -> Vec<String> {
    let commands = &all.covered;
    let hidden = all.hidden.iter();
    let mut problems: Vec<String> = hidden
        .map(|line| format!("a block of text has a command: {line}"))
        .collect();
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
        if let Err(problem) = runs(root, test.trim(), command) {
            problems.push(format!("readme-covered.txt: {problem}"));
        }
        listed.insert(command.to_owned());
    }
    for command in commands.difference(&listed) {
        problems.push(format!("no test is known to run: {command}"));
    }
    for command in listed.difference(commands) {
        problems.push(format!("readme-covered.txt: no page shows: {command}"));
    }
    problems
}

/// Gives a sentence if a test, as the list names it, does not have the words of a command.
fn runs(root: &Path, test: &str, command: &str) -> Result<(), String> {
    if let Some(reason) = test.strip_prefix("not run:") {
        return match reason.trim() {
            "" => Err(format!("no reason is given not to run: {command}")),
            _ => Ok(()),
        };
    }
    let (file, name) = test.split_once("::").unwrap_or((test, ""));
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let is_defined = |keyword| text.contains(&format!("{keyword} {name}("));
    if text.is_empty() || !(name.is_empty() || is_defined("def") || is_defined("fn")) {
        return Err(format!("there is no test {test}"));
    }
    let code = without_comments(&text);
    let there: BTreeSet<&str> = code.split(|letter| !is_of_word(letter)).collect();
    match words(command).iter().find(|word| !there.contains(*word)) {
        Some(word) => Err(format!("{test} has no {word}, so does not run: {command}")),
        None => Ok(()),
    }
}

/// The words of a command that are the same wherever it runs: no paths, nothing with a number, and not
/// the user who runs it.
fn words(command: &str) -> Vec<&str> {
    let has_no_number = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
    if command.ends_with(';') {
        // SQL: all names, and no strings.
        let parts = command.split('\'').step_by(2);
        let words = parts.flat_map(|part| part.split(|letter| !is_of_word(letter)));
        return words
            .filter(|word| !word.is_empty())
            .filter(has_no_number)
            .collect();
    }
    let command = command.strip_prefix("sudo ").unwrap_or(command);
    let command = command.strip_prefix("-u postgres ").unwrap_or(command);
    command
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| word.chars().all(is_of_word))
        .filter(has_no_number)
        .collect()
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'
}

/// The code of a test without its lines of comments and its docstrings, in which everything may stand.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut is_in_docstring = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if is_in_docstring {
            is_in_docstring = !line.contains("\"\"\"");
        } else if let Some(docstring) = trimmed.strip_prefix("\"\"\"") {
            is_in_docstring = !docstring.contains("\"\"\"");
        } else if !trimmed.starts_with('#') && !trimmed.starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
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

```toml
[dependencies]
```

```rust run since=17
fn main() {}
```

```sql
SELECT 1;
SELECT f('x')
FROM t;
```

```text
$ cp a b
LOG:  cp a b
   cp a b
```
";
    /// The lines for the statements in it, and the test that runs them.
    const STATEMENTS: &str = "SELECT 1;\ttest_up.py\nSELECT f('x') FROM t;\ttest_up.py\n";

    #[test]
    fn blocks_are_told_apart() {
        let commands = commands(&Page::read(README));
        let shell = Program {
            language: "sh".to_owned(),
            code: "echo one\necho two\n".to_owned(),
            ..Program::default()
        };
        let program = Program {
            language: "rust".to_owned(),
            since: 17,
            dependencies: "[dependencies]\n".to_owned(),
            code: "fn main() {}\n".to_owned(),
        };
        assert_eq!(commands.run, [shell, program]);
        assert_eq!(
            commands.covered,
            BTreeSet::from(
                [
                    "cargo xtask up --detach",
                    "SELECT 1;",
                    "SELECT f('x') FROM t;"
                ]
                .map(str::to_owned)
            )
        );
        assert_eq!(commands.hidden, ["cp a b"]);
    }

    #[test]
    fn the_list_has_to_fit_the_readme() {
        let folder = tempfile::tempdir().unwrap();
        let test = "def test_it():\n    run(\"cargo xtask up --detach\")\n    \
                    execute(\"SELECT f(1) FROM t\")\n";
        fs::write(folder.path().join("test_up.py"), test).unwrap();
        let problems = |list: &str| {
            let mut commands = commands(&Page::read(README));
            commands.hidden.clear();
            let list = format!("{STATEMENTS}{list}");
            uncovered(&commands, &list, folder.path()).join("\n")
        };
        for right in ["test_up.py", "test_up.py::test_it", "not run: it cannot"] {
            assert_eq!(problems(&format!("cargo xtask up --detach\t{right}")), "");
        }
        assert!(problems("").contains("no test is known to run: cargo xtask up --detach"));
        assert!(problems("cargo xtask up --detach\tnot run: ").contains("no reason is given"));
        let stale = "cargo xtask up --detach\ttest_up.py\ncargo xtask fly\ttest_up.py\n";
        assert!(problems(stale).contains("no page shows: cargo xtask fly"));
        for gone in ["gone.py", "test_up.py::test_that", "test_up.py::cargo"] {
            let problems = problems(&format!("cargo xtask up --detach\t{gone}"));
            assert!(problems.contains(&format!("there is no test {gone}")));
        }
    }

    #[test]
    fn a_command_in_a_block_of_text_is_found() {
        let problems = uncovered(
            &commands(&Page::read(README)),
            "",
            Path::new("/nonexistent"),
        );
        let expected = "a block of text has a command: cp a b";
        assert!(problems.iter().any(|problem| problem == expected));
    }

    #[test]
    fn a_test_that_lacks_the_command_does_not_run_it() {
        let folder = tempfile::tempdir().unwrap();
        let test = "\"\"\"Runs it with --detach.\"\"\"\n\n\n\
                    # This has --detach as well.\n\
                    def test_it():\n    \"\"\"Not without\n    --detach.\"\"\"\n    \
                    run([\"cargo\", \"xtask\", \"up\", \"--detached\", \"--dir\", folder])\n";
        fs::write(folder.path().join("test_up.py"), test).unwrap();
        let problem = |command| runs(folder.path(), "test_up.py::test_it", command);
        assert!(
            problem("SELECT cargo('x', up) FROM t;")
                .unwrap_err()
                .starts_with("test_up.py::test_it has no SELECT")
        );
        assert_eq!(problem("cargo('x', up);"), Ok(()));
        assert_eq!(
            problem("cargo xtask up --detach").unwrap_err(),
            "test_up.py::test_it has no --detach, so does not run: cargo xtask up --detach"
        );
        assert_eq!(problem("sudo cargo xtask up --dir /a/path"), Ok(()));
        assert_eq!(problem("sudo -u postgres cargo xtask up"), Ok(()));
        assert!(problem("sudo -u nobody cargo xtask up").is_err());
    }

    /// Here too, so that it is found without a server.
    #[test]
    fn each_command_of_the_documents_is_run_by_a_test() {
        let all = all().unwrap();
        assert!(all.run.len() > 10 && all.covered.len() > 10);
        let problems = uncovered(&all, &list().unwrap(), workspace::root());
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
