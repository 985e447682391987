//! Every command and every program that README.md and the pages in docs/ show has to be one that some
//! test runs.
//!
//! Code blocks whose info string says `run` are run here, as they stand, with the server's
//! environment: `sh`, and programs in `python`, `js`, `rust`, `java` and `go`, which have to print the ARN of the
//! profile `admin`, to show that they connected. `since=17` after it leaves a block out on an older
//! PostgreSQL. A program in Rust is built with the dependencies of the last `toml` block before it.
//!
//! Each command of any other `sh` block, unless a block that is run has it too, and each statement of a
//! `sql` block has a line in `tests/readme-covered.txt`: the command, a tab, and the test that runs it (a
//! path, and `::` with the name of a function in that file, if that helps). The words of the command have to
//! be in that file, outside of comments: a command that has changed has to change there too. Paths and
//! versions are others in a test, so they do not count. Where nothing can run it, `not run: ` and the reason stand in place of the
//! test. A line for a command that no page has is an error too, and so is a block of `text` that has
//! commands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::cluster::ACCOUNT_ID;
use crate::{run, workspace};

/// What runs the programs.
pub struct Tools {
    /// Python, with the packages of the tests.
    pub python: PathBuf,
    /// Why node cannot run its programs, if it cannot.
    pub without_node: Option<String>,
    /// Why Go cannot run its programs, if it cannot.
    pub without_go: Option<String>,
    /// pgjdbc.
    pub jdbc_driver: PathBuf,
    /// Where the programs in Rust are built.
    pub target: PathBuf,
    /// The major version of the server.
    pub major: u32,
}

/// What a document holds for this module.
#[derive(Debug, Default, PartialEq)]
struct Commands {
    /// Whole blocks, to be run.
    run: Vec<Block>,
    /// Single commands, to be covered.
    covered: BTreeSet<String>,
    /// Commands where nobody would look for them.
    hidden: Vec<String>,
}

/// A block to be run.
#[derive(Debug, Default, PartialEq)]
struct Block {
    language: String,
    /// The oldest major version of PostgreSQL that it is for.
    since: u32,
    /// What it needs, for Rust.
    dependencies: String,
    code: String,
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

/// Checks the commands of the documents, and runs those it should.
pub fn run(variables: &BTreeMap<String, OsString>, tools: &Tools) -> Result<()> {
    let all = all_commands()?;
    let mut problems = uncovered(&all, &list()?, workspace::root());

    for block in &all.run {
        println!("\n```{}\n{}```", block.language, block.code);
        if block.since > tools.major {
            println!("skipped, since it needs PostgreSQL {}", block.since);
            continue;
        }
        let without = match &*block.language {
            "js" => &tools.without_node,
            "go" => &tools.without_go,
            _ => &None,
        };
        if let Some(reason) = without {
            println!("skipped: {reason}");
            continue;
        }
        if let Err(error) = run_block(block, variables, tools) {
            problems.push(format!("{error:#}, running:\n{}", block.code));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// The commands of all documents.
fn all_commands() -> Result<Commands> {
    let mut all = Commands::default();
    for document in documents()? {
        let markdown = fs::read_to_string(&document)
            .with_context(|| format!("{} could not be read", document.display()))?;
        let commands = commands(&markdown);
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
fn list() -> Result<String> {
    let path = workspace::root().join("tests/readme-covered.txt");
    fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))
}

/// Runs a block, and looks at what it prints if it is a program.
fn run_block(block: &Block, variables: &BTreeMap<String, OsString>, tools: &Tools) -> Result<()> {
    let root = workspace::root();
    // Makes the cluster's name lead here, as the pages say that a line in /etc/hosts does.
    let hosts = root.join("tests/docs");
    let folder = tempfile::tempdir().context("no folder for the program")?;
    let mut command = match block.language.as_str() {
        "sh" => {
            let mut bash = Command::new("bash");
            bash.args(["-euo", "pipefail", "-c", &block.code])
                .current_dir(root)
                .envs(variables);
            return run::run(&mut bash);
        }
        "python" => {
            let mut python = Command::new(&tools.python);
            python.args(["-c", &block.code]).env("PYTHONPATH", &hosts);
            python
        }
        "js" => {
            let mut node = Command::new("node");
            node.arg("--import")
                .arg(hosts.join("hosts.mjs"))
                .args(["--input-type=module", "--eval", &block.code])
                .current_dir(root.join("tests/node"));
            node
        }
        "rust" => Command::new(build_rust(block, &tools.target.join("documents"))?),
        "java" => {
            let source = folder.path().join("Connect.java");
            fs::write(&source, &block.code)?;
            let mut java = Command::new("java");
            java.arg("--class-path").arg(&tools.jdbc_driver).arg(source);
            java.env("PGPASSWORD", admin_token(variables)?);
            java
        }
        "go" => {
            let source = folder.path().join("main.go");
            fs::write(&source, &block.code)?;
            let mut go = Command::new("go");
            // With the modules of the tests.
            go.arg("run").arg(source).current_dir(root.join("tests/go"));
            go
        }
        other => bail!("nothing here runs blocks of the language {other:?}"),
    };
    command.envs(variables).env("AWS_PROFILE", "admin");
    let printed = run::output(&mut command)?;
    let arn = format!("arn:aws:iam::{ACCOUNT_ID}:user/dba");
    if !printed.contains(&arn) {
        bail!("it did not print {arn}, but {printed:?}");
    }
    Ok(())
}

/// What the pages say that a program is given as its password.
fn admin_token(variables: &BTreeMap<String, OsString>) -> Result<String> {
    let mut bash = Command::new("bash");
    bash.args(["-c", "dsql-iam token --admin --hostname \"$PGHOST\""])
        .envs(variables)
        .env("AWS_PROFILE", "admin");
    Ok(run::output(&mut bash)?.trim_end().to_owned())
}

/// Builds a program in a package of its own, so that the dependencies it shows are those it gets; gives
/// the path of the program.
fn build_rust(block: &Block, folder: &Path) -> Result<PathBuf> {
    if block.dependencies.is_empty() {
        bail!("there is no block of toml with its dependencies before it");
    }
    let package = folder.join("package");
    fs::create_dir_all(package.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"connect\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.dev]\ndebug = false\nincremental = false\n\n{}",
        block.dependencies
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::write(package.join("src/main.rs"), &block.code)?;
    // The versions of the workspace, as far as they go.
    fs::copy(
        workspace::root().join("Cargo.lock"),
        package.join("Cargo.lock"),
    )?;
    let mut build = workspace::cargo();
    build
        .args(["build", "--quiet", "--target-dir"])
        .arg(folder)
        .current_dir(&package);
    run::output(&mut build)?;
    Ok(folder.join("debug/connect"))
}

/// Takes Markdown apart.
fn commands(markdown: &str) -> Commands {
    let mut commands = Commands::default();
    let mut dependencies = String::new();
    let mut block: Option<(Block, bool)> = None;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let mut words = info.split_whitespace();
                let language = words.next().unwrap_or_default().to_owned();
                let words: Vec<&str> = words.collect();
                let since = words.iter().find_map(|word| word.strip_prefix("since="));
                let found = Block {
                    language,
                    since: since.and_then(|since| since.parse().ok()).unwrap_or(0),
                    ..Block::default()
                };
                block = Some((found, words.contains(&"run")));
            }
            Event::Text(text) => {
                if let Some((block, _)) = &mut block {
                    block.code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => match block.take() {
                Some((mut block, true)) => {
                    block.dependencies.clone_from(&dependencies);
                    commands.run.push(block);
                }
                Some((block, false)) if block.language == "sh" => {
                    commands.covered.extend(lines(&block.code));
                }
                Some((block, false)) if block.language == "sql" => {
                    commands.covered.extend(statements(&block.code));
                }
                Some((block, false)) if block.language == "text" => {
                    commands
                        .hidden
                        .extend(block.code.lines().filter_map(hidden));
                }
                Some((block, false)) if block.language == "toml" => dependencies = block.code,
                _ => {}
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

/// The statements of a block of SQL, each with its semicolon.
fn statements(code: &str) -> Vec<String> {
    code.split_inclusive(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// A line of a block that is not said to be for a shell, if it begins with what is typed into one. With a
/// prompt before it, it is a picture.
fn hidden(line: &str) -> Option<String> {
    const PROGRAMS: [&str; 16] = [
        "apt-get",
        "aws",
        "cargo",
        "chmod",
        "cp",
        "curl",
        "docker",
        "dsql-iam",
        "export",
        "go",
        "npm",
        "pip",
        "psql",
        "source",
        "sudo",
        "update-ca-certificates",
    ];
    let program = line.split_whitespace().next()?;
    PROGRAMS.contains(&program).then(|| line.trim().to_owned())
}

/// Compares the commands with the list of those that tests run, gives a sentence for each problem.
fn uncovered(all: &Commands, list: &str, root: &Path) -> Vec<String> {
    let commands = &all.covered;
    let hidden = all.hidden.iter();
    let mut problems: Vec<String> = hidden
        .map(|line| format!("a block that is not of sh has a command: {line}"))
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
        problems.push(format!(
            "readme-covered.txt: no page has any longer: {command}"
        ));
    }
    problems
}

/// Looks whether a test, as the list names it, has the words of a command; gives a sentence if not.
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
        let commands = commands(README);
        let shell = Block {
            language: "sh".to_owned(),
            code: "echo one\necho two\n".to_owned(),
            ..Block::default()
        };
        let program = Block {
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
            let mut commands = commands(README);
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
        assert!(problems(stale).contains("no page has any longer: cargo xtask fly"));
        for gone in ["gone.py", "test_up.py::test_that", "test_up.py::cargo"] {
            let problems = problems(&format!("cargo xtask up --detach\t{gone}"));
            assert!(problems.contains(&format!("there is no test {gone}")));
        }
    }

    #[test]
    fn a_command_in_a_block_of_text_is_found() {
        let problems = uncovered(&commands(README), "", Path::new("/nonexistent"));
        let expected = "a block that is not of sh has a command: cp a b";
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
        let all = all_commands().unwrap();
        assert!(all.run.len() > 10 && all.covered.len() > 10);
        let problems = uncovered(&all, &list().unwrap(), workspace::root());
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
