//! The text of the library's own hba file.
//!
//! The rules of the file, in order; the first match counts:
//! 1. roles in `dsql_iam.exempt_roles` log in over TCP with SCRAM
//! 2. everybody else needs a token over TCP
//! 3. Unix sockets and replication: as the user's own file says
//!
//! All of the user's lines follow, in their order: left out, a `reject` would let a later line match. The user's
//! `host` lines are never reached but for replication, which the database `all` does not match.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of the file, in the data directory.
pub const FILE: &str = "dsql_iam_hba.conf";

/// A name that an hba file cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A role of `dsql_iam.exempt_roles`.
    #[error("dsql_iam.exempt_roles holds a name that an hba file cannot hold: {0:?}")]
    Role(String),
    /// The user's own hba file, or its folder.
    #[error("\"{}\" has a quote, a backslash or a line break in its name", .0.display())]
    Path(PathBuf),
}

/// The file before the user's lines.
///
/// # Errors
/// The role that cannot be written.
pub fn own_lines(exempt_roles: &[String], users_file: &Path) -> Result<String, Unwritable> {
    let mut text = String::from(
        "# Written by dsql_iam at every start and reload. Changes made here are lost.\n\
         # dsql_iam stands behind the line that says trust, and asks for a token.\n",
    );
    for role in exempt_roles {
        // From 16 on a name that starts with a slash is a pattern, quoted or not.
        if role.contains(['"', '\n', '\r', '\\']) || role.starts_with('/') {
            return Err(Unwritable::Role(role.clone()));
        }
        text += &format!("host all \"{role}\" all scram-sha-256\n");
    }
    text += "host all all all trust\n";
    text += &format!("# Unix sockets and replication, from {users_file:?}:\n");
    Ok(text)
}

/// The user's lines by an inclusion, as PostgreSQL has it from 16 on: changes arrive by themselves.
///
/// # Errors
/// The path, if it cannot be written.
pub fn inclusion(users_file: &Path) -> Result<Vec<u8>, Unwritable> {
    let mut line = b"include \"".to_vec();
    line.extend(quotable(users_file)?);
    line.extend(b"\"\n");
    Ok(line)
}

/// The user's lines byte for byte, as before PostgreSQL 16, but for the files that they name by `@`: a relative
/// name starts at the file it stands in, which is now ours.
///
/// # Errors
/// The folder, if it cannot be written.
pub fn copied(lines: &[u8], users_file: &Path) -> Result<Vec<u8>, Unwritable> {
    let folder = users_file.parent().unwrap_or(Path::new("/"));
    let mut lines = with_absolute_inclusions(lines, quotable(folder)?);
    lines.push(b'\n');
    Ok(lines)
}

/// A path as it can stand between quotes in an hba file.
fn quotable(path: &Path) -> Result<&[u8], Unwritable> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.iter().any(|byte| b"\"\r\n\\".contains(byte)) {
        return Err(Unwritable::Path(path.to_owned()));
    }
    Ok(bytes)
}

/// Puts `folder` before each relative name behind an `@` that begins a word. Words end as they do for
/// PostgreSQL: at white space or a comma outside of quotes, or where the line does, unless a
/// backslash stands there.
fn with_absolute_inclusions(text: &[u8], folder: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut is_quoted, mut is_comment, mut begins_word) = (false, false, true);
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        out.push(*byte);
        let continued = [&b"\\\n"[..], b"\\\r\n"]
            .into_iter()
            .find(|end| rest.starts_with(end));
        if let Some(end) = continued {
            out.extend(&end[1..]);
            rest = &rest[end.len()..];
            continue;
        }
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b',');
        match byte {
            b'\n' => (is_quoted, is_comment, begins_word) = (false, false, true),
            _ if is_comment => {}
            b'"' => (is_quoted, begins_word) = (!is_quoted, false),
            b'#' if !is_quoted => is_comment = true,
            _ if is_space && !is_quoted => begins_word = true,
            b'@' if begins_word && !is_quoted => {
                // A lone `@` is a name.
                let names_file = !matches!(
                    behind.first(),
                    None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b'#')
                );
                let is_absolute = behind.starts_with(b"/") || behind.starts_with(b"\"/");
                if names_file && !is_absolute {
                    out.push(b'"');
                    out.extend(folder);
                    out.push(b'/');
                    if let [b'"', inside @ ..] = behind {
                        is_quoted = true;
                        rest = inside;
                        begins_word = false;
                        continue;
                    }
                    out.push(b'"');
                }
                begins_word = false;
            }
            _ => begins_word = false,
        }
        rest = behind;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absolute(lines: &str) -> String {
        let copied = copied(lines.as_bytes(), Path::new("/etc/my conf/pg_hba.conf"));
        let text = String::from_utf8(copied.expect("the folder can be quoted"));
        let text = text.expect("nothing but names is put in");
        text.strip_suffix('\n').expect("a line break").to_owned()
    }

    #[test]
    fn exempt_roles_come_before_the_token_and_the_users_lines_behind() {
        let roles = ["dba".to_owned(), "a b".to_owned()];
        assert_eq!(
            own_lines(&roles, Path::new("/etc/pg_hba.conf")).unwrap(),
            "# Written by dsql_iam at every start and reload. Changes made here are lost.\n\
             # dsql_iam stands behind the line that says trust, and asks for a token.\n\
             host all \"dba\" all scram-sha-256\n\
             host all \"a b\" all scram-sha-256\n\
             host all all all trust\n\
             # Unix sockets and replication, from \"/etc/pg_hba.conf\":\n"
        );
        assert_eq!(
            inclusion(Path::new("/etc/pg_hba.conf")).unwrap(),
            b"include \"/etc/pg_hba.conf\"\n"
        );
    }

    #[test]
    fn a_name_that_would_say_something_else_is_an_error() {
        for role in ["a\"", "a\nhost all all all trust", "a\r", "a\\", "/^."] {
            let fault = own_lines(&[role.to_owned()], Path::new("/x")).unwrap_err();
            assert_eq!(
                fault.to_string(),
                format!(
                    "dsql_iam.exempt_roles holds a name that an hba file cannot hold: {role:?}"
                )
            );
        }
        for folder in ["/a\"b", "/a\nb", "/a\rb", "/a\\b"] {
            let file = Path::new(folder).join("pg_hba.conf");
            let text = "has a quote, a backslash or a line break in its name";
            let fault = inclusion(&file).unwrap_err();
            assert_eq!(fault.to_string(), format!("\"{}\" {text}", file.display()));
            let fault = copied(b"", &file).unwrap_err();
            assert_eq!(fault.to_string(), format!("\"{folder}\" {text}"));
        }
        // A comment shows a line break of the file's name as an escape.
        let text = own_lines(&[], Path::new("/a\nhost all all all trust")).unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("host")).count(),
            1
        );
    }

    #[test]
    fn relative_inclusions_start_at_the_users_file() {
        for (lines, expected) in [
            (
                "local @names all peer",
                "local @\"/etc/my conf/\"names all peer",
            ),
            (
                "local all @\"my names\" peer",
                "local all @\"/etc/my conf/my names\" peer",
            ),
            (
                "local a,@b all peer",
                "local a,@\"/etc/my conf/\"b all peer",
            ),
            ("@a\n@b", "@\"/etc/my conf/\"a\n@\"/etc/my conf/\"b"),
            (
                "local \\\n@a all peer",
                "local \\\n@\"/etc/my conf/\"a all peer",
            ),
            (
                "local \\\r\n@a all peer",
                "local \\\r\n@\"/etc/my conf/\"a all peer",
            ),
            ("# \"\n@a", "# \"\n@\"/etc/my conf/\"a"),
        ] {
            assert_eq!(absolute(lines), expected);
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for lines in [
            "",
            "local all all peer\nhost all all 127.0.0.1/32 md5\n",
            "local @/etc/names all peer",
            "local @\"/etc/my names\" all peer",
            "local a@b all peer",
            "local \"@a\" all peer",
            "local \"a b @c\" all peer",
            "local @ all peer",
            "local @,a all peer",
            "# @names\nlocal all all peer",
            "# continued \\\n@names",
            "local @",
        ] {
            assert_eq!(absolute(lines), lines);
        }
    }
}
