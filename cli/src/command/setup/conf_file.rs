//! PostgreSQL's configuration files: what they set, and what is written into them.
//!
//! The block that setup writes into `postgresql.conf` stands between two lines of its own at the end of the file,
//! so that taking it out leaves every other byte as it is, whoever changed what meanwhile.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use dsql_iam_server::doctor::preloads;

use super::arguments::PRELOAD;

use crate::shared::error::Error;

const BEGIN: &str =
    "# BEGIN dsql_iam, written by dsql-iam setup; dsql-iam setup --undo takes it out\n";
const END: &str = "# END dsql_iam\n";
/// Says that the last line before [`BEGIN`] had no line break.
const NO_BREAK: &str = "# the line before had no line break\n";
/// Names the folder that was made.
pub const MADE: &str = "# made: ";
/// Holds the line of postgresql.auto.conf that was replaced.
pub const REPLACED: &str = "# postgresql.auto.conf had: ";

/// The file without what setup wrote, and what that is.
pub fn split(content: &str) -> (String, Option<String>) {
    let block = content.find(BEGIN).and_then(|start| {
        let inside = start + BEGIN.len();
        let length = content[inside..].find(END)?;
        Some((
            start,
            &content[inside..inside + length],
            inside + length + END.len(),
        ))
    });
    let Some((start, block, end)) = block else {
        return (content.to_owned(), None);
    };
    let mut before = &content[..start];
    if block.starts_with(NO_BREAK) {
        before = before.strip_suffix('\n').unwrap_or(before);
    }
    let block = block.strip_prefix(NO_BREAK).unwrap_or(block);
    (
        format!("{before}{}", &content[end..]),
        Some(block.to_owned()),
    )
}

/// The file with what setup writes, at its end.
pub fn join(base: &str, block: &str) -> String {
    if base.is_empty() || base.ends_with('\n') {
        format!("{base}{BEGIN}{block}{END}")
    } else {
        format!("{base}\n{BEGIN}{NO_BREAK}{block}{END}")
    }
}

/// The rest of a block's lines that start with `kind`.
pub fn notes<'b>(block: &'b str, kind: &'static str) -> impl Iterator<Item = &'b str> {
    block
        .lines()
        .filter_map(move |line| line.strip_prefix(kind))
}

/// The line of postgresql.auto.conf that a block says was replaced, if it set this.
pub fn replaced_line<'b>(block: &'b str, name: &str) -> Option<&'b str> {
    notes(block, REPLACED).find(|line| value_in(line, name).is_some())
}

/// The lines of a configuration file that set this: number, line, value. The last one counts.
pub fn lines_of<'c>(
    content: &'c str,
    name: &str,
) -> impl Iterator<Item = (usize, &'c str, String)> {
    content
        .lines()
        .enumerate()
        .filter_map(move |(index, line)| {
            let (found, value) = setting_of(line)?;
            found
                .eq_ignore_ascii_case(name)
                .then_some((index + 1, line, value))
        })
}

/// The name and the value that a line sets.
fn setting_of(line: &str) -> Option<(&str, String)> {
    let line = line.trim_start();
    let is_name =
        |character: char| character.is_ascii_alphanumeric() || ['_', '.'].contains(&character);
    let (name, rest) = line.split_at(line.find(|character| !is_name(character))?);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted),
        None => rest
            .split([' ', '\t', '#'])
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    Some((name, value))
}

/// How deep files may include each other, as PostgreSQL has it.
const MAX_DEPTH: usize = 10;

/// The settings of the library in a file and those that it includes: file, number of the line, name and
/// value. A file that cannot be read has none.
pub fn own_settings(path: &Path, content: &str) -> Vec<(PathBuf, usize, String, String)> {
    let mut found = Vec::new();
    collect(path, content, 0, &mut found);
    found
}

fn collect(
    path: &Path,
    content: &str,
    depth: usize,
    found: &mut Vec<(PathBuf, usize, String, String)>,
) {
    let folder = path.parent().unwrap_or(Path::new("/"));
    for (index, line) in content.lines().enumerate() {
        let Some((name, value)) = setting_of(line) else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        let included = match name.as_str() {
            "include" | "include_if_exists" => vec![folder.join(&value)],
            "include_dir" => {
                let entries = fs::read_dir(folder.join(&value)).into_iter().flatten();
                let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
                files.retain(|file| file.extension().is_some_and(|end| end == "conf"));
                files.sort();
                files
            }
            _ => Vec::new(),
        };
        for file in included.into_iter().filter(|_| depth < MAX_DEPTH) {
            if let Ok(content) = fs::read_to_string(&file) {
                collect(&file, &content, depth + 1, found);
            }
        }
        if name.starts_with("dsql_iam.") {
            found.push((path.to_owned(), index + 1, name, value));
        }
    }
}

/// The value that a configuration file sets this to.
pub fn value_in(content: &str, name: &str) -> Option<String> {
    lines_of(content, name).last().map(|(_, _, value)| value)
}

/// Puts another line in the place of the last that sets this, and notes in words what it did.
pub fn change_last(content: &mut String, name: &str, new: &str, words: &mut Vec<String>) {
    if let Some((number, line, _)) = lines_of(content, name).last() {
        words.push(format!("  - {line}\n  + {new}"));
        *content = with_line(content, number, Some(new));
    }
}

/// The value that [`quote`] has made this of, behind the quote that begins it.
fn unquote(quoted: &str) -> String {
    let mut value = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next()),
            '\'' if characters.next_if_eq(&'\'').is_none() => break,
            other => value.push(other),
        }
    }
    value
}

/// postgresql.auto.conf with the library taken out, and what is changed in it, in words. `had` is
/// the line as it was before setup, which comes back if nothing else has changed.
pub fn without_us(content: &str, had: Option<&str>) -> (String, Vec<String>) {
    let others = |value: &str| {
        let entries = value.split(',').map(str::trim);
        entries
            .filter(|entry| !entry.is_empty() && !preloads(entry))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let had = had.and_then(|had| Some((had, others(&value_in(had, PRELOAD)?))));
    let (mut better, mut words) = (content.to_owned(), Vec::new());
    // From the last on, so that the numbers of those before stay.
    let found: Vec<_> = lines_of(content, PRELOAD)
        .filter(|(_, _, value)| preloads(value))
        .collect();
    for (number, line, value) in found.into_iter().rev() {
        let kept = others(&value);
        let back = match &had {
            Some((had, before)) if *before == kept => Some((*had).to_owned()),
            _ if kept.is_empty() => None,
            _ => Some(format!("{PRELOAD} = '{kept}'")),
        };
        words.push(format!("  - {line}"));
        words.extend(back.iter().map(|back| format!("  + {back}")));
        better = with_line(&better, number, back.as_deref());
    }
    (better, words)
}

/// A file with another line in the place of the one with this number, or without it.
fn with_line(content: &str, number: usize, new: Option<&str>) -> String {
    let mut lines = String::new();
    for (index, line) in content.split_inclusive('\n').enumerate() {
        match new {
            _ if index + 1 != number => lines += line,
            Some(new) => {
                lines += new;
                lines += &line[line.trim_end_matches(['\r', '\n']).len()..];
            }
            None => {}
        }
    }
    lines
}

/// Quotes a value for `postgresql.conf`, where a backslash escapes.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

/// The content of a file.
///
/// # Errors
/// A sentence with the path.
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| cannot(path, &error))
}

/// Puts a file with this content in the place of one that is there, with its owner and mode.
///
/// # Errors
/// A sentence with the path.
pub fn replace(path: &Path, content: &str) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        // Where the name is a link, the file that it leads to.
        let path = fs::canonicalize(path)?;
        let old = fs::metadata(&path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(content.as_bytes())?;
        give(new.path(), (old.uid(), old.gid()))?;
        new.as_file().set_permissions(old.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| cannot(path, &error))
}

/// Hands a file over, if it is not theirs already. Where that takes root's rights it is an error.
fn give(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if (metadata.uid(), metadata.gid()) == (user, group) {
        return Ok(());
    }
    chown(path, Some(user), Some(group))
}

/// A sentence about a file that could not be read or written.
pub fn cannot(path: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": run it as root, or as the server's user, who has to have the right to it"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out_leaves_every_other_byte() {
        for base in ["", "a = 1\n", "a = 1", "a = 1\n\n"] {
            let with = join(base, "x = 'y'\n");
            assert_eq!(
                split(&with),
                (base.to_owned(), Some("x = 'y'\n".to_owned()))
            );
            let and_more = format!("{with}b = 2\n");
            assert_eq!(split(&and_more).0, format!("{base}b = 2\n"));
            assert_eq!(split(base), (base.to_owned(), None));
        }
    }

    #[test]
    fn other_libraries_stay() {
        let had = "shared_preload_libraries = 'a'";
        let taken_out = |line: &str, had| without_us(&format!("x = 1\n{line}\ny = 2\n"), had).0;
        let with = |line: &str| format!("x = 1\n{line}\ny = 2\n");
        assert_eq!(
            taken_out("shared_preload_libraries = 'a,dsql_iam'", Some(had)),
            with(had)
        );
        for had in [Some(had), None] {
            assert_eq!(
                taken_out("shared_preload_libraries = 'a, dsql_iam, b'", had),
                with("shared_preload_libraries = 'a, b'")
            );
            assert_eq!(
                taken_out("shared_preload_libraries = '$libdir/dsql_iam.so'", had),
                "x = 1\ny = 2\n"
            );
            // Nothing of ours, nothing changed.
            for line in [
                "shared_preload_libraries = 'a ,b'",
                "shared_preload_libraries_x = 'dsql_iam'",
                "#shared_preload_libraries = 'dsql_iam'",
                "dsql_iam.region = 'us-east-1'",
            ] {
                assert_eq!(without_us(&with(line), had), (with(line), vec![]));
            }
        }
    }

    #[test]
    fn the_line_that_counts_is_the_one_that_changes() {
        let comment = "#shared_preload_libraries = 'a, dsql_iam'\n";
        let line = "shared_preload_libraries = 'a, dsql_iam'";
        for (before, after) in [
            (
                format!("{comment}{line}\n"),
                format!("{comment}shared_preload_libraries = 'a'\n"),
            ),
            (
                format!("{comment}{line}"),
                format!("{comment}shared_preload_libraries = 'a'"),
            ),
            (
                "x = 1\nshared_preload_libraries = 'dsql_iam'".into(),
                "x = 1\n".into(),
            ),
            (
                format!("{line}\n{line}\n"),
                "shared_preload_libraries = 'a'\n".repeat(2),
            ),
        ] {
            assert_eq!(without_us(&before, None).0, after);
        }
        assert_eq!(with_line("a\nb\r\na\n", 2, Some("c")), "a\nc\r\na\n");
        assert_eq!(with_line("a\nb\na", 3, Some("c")), "a\nb\nc");
    }

    #[test]
    fn the_list_of_libraries_is_found_however_it_is_written() {
        let values = |content: &str| {
            let lines = lines_of(content, PRELOAD);
            lines
                .map(|(number, _, value)| (number, value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(
                "x = 1\nshared_preload_libraries = 'a, b' # c\n  Shared_Preload_Libraries\tdsql_iam#c\n\
                 shared_preload_libraries='a'\nshared_preload_librariesx = 'a'\n"
            ),
            [
                (2, "a, b".to_owned()),
                (3, "dsql_iam".to_owned()),
                (4, "a".to_owned())
            ]
        );
        assert_eq!(values("#shared_preload_libraries = 'a'\n"), []);
    }

    #[test]
    fn settings_are_found_in_included_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("more")).unwrap();
        fs::write(path("more/b.conf"), "DSQL_IAM.region = 'b'\n").unwrap();
        fs::write(path("more/c.txt"), "dsql_iam.region = 'c'\n").unwrap();
        fs::write(
            path("a.conf"),
            "x = 1\n dsql_iam.exempt_roles 'app' # mine\n",
        )
        .unwrap();
        let content = "include 'a.conf'\ninclude_dir = 'more'\ninclude_if_exists 'none'\n\
                       #dsql_iam.region = 'd'\ndsql_iam.region_x = e\n";
        let found = own_settings(&path("main.conf"), content);
        let found: Vec<(PathBuf, usize, &str, &str)> = found
            .iter()
            .map(|(path, number, name, value)| (path.clone(), *number, &**name, &**value))
            .collect();
        assert_eq!(
            found,
            [
                (path("a.conf"), 2, "dsql_iam.exempt_roles", "app"),
                (path("more/b.conf"), 1, "dsql_iam.region", "b"),
                (path("main.conf"), 5, "dsql_iam.region_x", "e"),
            ]
        );
        // A circle ends.
        fs::write(
            path("circle.conf"),
            "include 'circle.conf'\ndsql_iam.region = 'x'\n",
        )
        .unwrap();
        let circle = own_settings(&path("main.conf"), "include 'circle.conf'\n");
        assert_eq!(circle.len(), MAX_DEPTH);
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        for value in ["a", "it's", r"\\a\'b''", ""] {
            let content = format!("dsql_iam.region = {} # c\n", quote(value));
            assert_eq!(
                value_in(&content, "DSQL_IAM.Region"),
                Some(value.to_owned())
            );
        }
        assert_eq!(value_in("a = 1\na = 2 # x\n", "a"), Some("2".to_owned()));
        assert_eq!(value_in("dsql_iam.region_x = 1\n", "dsql_iam.region"), None);
        let block = format!("{REPLACED}b = 'x'\n{REPLACED}a = 'y'\nb = 'z'\n");
        assert_eq!(replaced_line(&block, "a"), Some("a = 'y'"));
        assert_eq!(replaced_line(&block, "c"), None);
    }
}
