//! The mappings of a cluster, in whatever form a client printed `SELECT * FROM sys.iam_pg_role_mappings`.
//!
//! | form | known by |
//! |---|---|
//! | JSON: an array of objects, or one object after the other | its first character |
//! | psql's table, with any border; other clients' with bars | a line with the names of the columns, and bars |
//! | psql's unaligned output, CSV, TSV | the same line, and another separator |
//! | psql's records (`\x`) | a name of a column at the start of each line |
//!
//! Lines before the table (a prompt, the query) are passed over. A row that cannot be read with
//! certainty is an error: nobody is taken to be mapped by a guess.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dsql_iam_core::{IamArn, printable};
use serde::Deserialize;

use crate::shared::error::Error;

/// The view's columns.
const COLUMNS: [&str; 6] = [
    "iam_oid",
    ARN,
    "pg_role_oid",
    ROLE,
    "grantor_pg_role_oid",
    "grantor_pg_role_name",
];
const ARN: &str = "arn";
const ROLE: &str = "pg_role_name";

/// The longest input, in bytes: room for 100,000 mappings.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// An IAM principal that may log in as a database role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mapping {
    /// the database role
    pub role: String,
    /// the ARN of the user or role, path included
    pub arn: String,
}

/// Reads a file, or standard input if it is called `-`.
///
/// # Errors
/// A sentence that names the file, and the line of the fault.
pub fn from_file(path: &Path) -> Result<Vec<Mapping>, Error> {
    let (name, input): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".into(), Box::new(std::io::stdin()))
    } else {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|fault| format!("{name}: {fault}"))?;
        (name, Box::new(file))
    };
    let mut text = String::new();
    let read = input.take(MAX_INPUT + 1).read_to_string(&mut text);
    read.map_err(|fault| format!("{name}: {fault}"))?;
    if text.len() as u64 > MAX_INPUT {
        return Err(format!("{name}: it is longer than {MAX_INPUT} bytes").into());
    }
    self::read(&text).map_err(|fault| format!("{name}: {fault}").into())
}

/// Reads the mappings, in their order; a duplicate counts once.
///
/// # Errors
/// A clause, with the line of the fault.
pub fn read(text: &str) -> Result<Vec<Mapping>, Error> {
    let text = text.trim_start_matches('\u{feff}');
    let rows = match text.trim_start().chars().next() {
        None => return Err("it is empty".into()),
        Some('[') => json_array(text)?,
        Some('{') => json_objects(text)?,
        Some(_) => printed(text)?,
    };
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for Row { place, arn, role } in rows {
        if IamArn::parse(&arn).is_err() {
            return Err(format!(
                "{place}: \"{}\" is not the ARN of an IAM user or role",
                printable(&arn)
            )
            .into());
        }
        if role.is_empty() || role.contains('\0') {
            return Err(format!("{place}: the name of the role is invalid").into());
        }
        let mapping = Mapping { role, arn };
        if known.insert(mapping.clone()) {
            mappings.push(mapping);
        }
    }
    Ok(mappings)
}

/// A row with the place that it stands at.
struct Row {
    place: String,
    arn: String,
    role: String,
}

#[derive(Deserialize)]
struct Object {
    arn: String,
    pg_role_name: String,
}

impl Object {
    fn row(self, at: usize) -> Row {
        Row {
            place: format!("row {}", at + 1),
            arn: self.arn,
            role: self.pg_role_name,
        }
    }
}

fn json_array(text: &str) -> Result<Vec<Row>, Error> {
    let objects: Vec<Object> = serde_json::from_str(text).map_err(Error::of)?;
    let rows = objects.into_iter().enumerate();
    Ok(rows.map(|(at, object)| object.row(at)).collect())
}

fn json_objects(text: &str) -> Result<Vec<Row>, Error> {
    let objects = serde_json::Deserializer::from_str(text).into_iter::<Object>();
    let rows = objects.enumerate().map(|(at, object)| {
        let object = object.map_err(Error::of)?;
        Ok(object.row(at))
    });
    rows.collect()
}

/// The text between two columns.
#[derive(Clone, Copy, PartialEq)]
enum Separator {
    /// A bar, as psql draws it.
    Bar(char),
    /// Another character, and quoting as in CSV.
    Csv(u8),
    /// White space alone, as psql has it with border 0.
    Blanks,
}

const SEPARATORS: [Separator; 6] = [
    Separator::Bar('|'),
    Separator::Bar('│'),
    Separator::Csv(b','),
    Separator::Csv(b'\t'),
    Separator::Csv(b';'),
    Separator::Blanks,
];

impl Separator {
    /// The cells of a line of a table.
    fn split(self, line: &str) -> Vec<&str> {
        match self {
            Self::Bar(bar) => line.split(bar).collect(),
            Self::Csv(byte) => line.split(byte as char).collect(),
            Self::Blanks => line.split_whitespace().collect(),
        }
    }
}

/// Where the two columns are that matter, of how many.
struct Header {
    separator: Separator,
    arn: usize,
    role: usize,
    count: usize,
}

impl Header {
    fn of(line: &str) -> Option<Self> {
        SEPARATORS.into_iter().find_map(|separator| {
            let cells = separator.split(line);
            let place = |name: &str| {
                let is_name = |cell: &&str| cell.trim().trim_matches('"') == name;
                cells.iter().position(is_name)
            };
            Some(Self {
                separator,
                arn: place(ARN)?,
                role: place(ROLE)?,
                count: cells.len(),
            })
        })
    }
}

/// A table or records.
fn printed(text: &str) -> Result<Vec<Row>, Error> {
    let lines: Vec<&str> = text.lines().collect();
    let headers = lines.iter().enumerate();
    let header = headers.filter_map(|(at, line)| Some((at, Header::of(line)?)));
    match header.into_iter().next() {
        Some((at, header)) => match header.separator {
            Separator::Csv(byte) => csv(&lines[at..].join("\n"), byte, at, &header),
            _ => table(&lines, at, &header),
        },
        None => records(&lines),
    }
}

fn csv(text: &str, separator: u8, before: usize, header: &Header) -> Result<Vec<Row>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let rows = reader.records().map(|record| {
        let line = |line: u64| format!("line {}", before as u64 + line);
        let record = record.map_err(|fault| {
            let at = fault.position().map_or(0, csv::Position::line);
            format!("{}: {fault}", line(at))
        })?;
        let cell = |at: usize| record.get(at).unwrap_or_default().to_owned();
        Ok(Row {
            place: line(record.position().map_or(0, csv::Position::line)),
            arn: cell(header.arn),
            role: cell(header.role),
        })
    });
    rows.collect()
}

fn table(lines: &[&str], header_at: usize, header: &Header) -> Result<Vec<Row>, Error> {
    // Unaligned output has no line below its header, and no blanks round its values.
    let below = lines.get(header_at + 1);
    let is_aligned = below.is_some_and(|line| is_rule(line));
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(header_at + 1) {
        if is_rule(line) {
            continue;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(count) = footer(line) {
            check_count(count, rows.len())?;
            break;
        }
        let cells = header.separator.split(line);
        let place = format!("line {}", at + 1);
        if cells.len() != header.count {
            return Err(format!(
                "{place}: it has {} columns, and the header has {}: have it printed as CSV (psql --csv)",
                cells.len(),
                header.count
            ).into());
        }
        let cell = |at: usize| match is_aligned {
            true => padded(cells[at]),
            false => cells[at].to_owned(),
        };
        rows.push(Row {
            place,
            arn: cell(header.arn),
            role: cell(header.role),
        });
    }
    Ok(rows)
}

/// A value without the blanks that a table puts round it.
fn padded(cell: &str) -> String {
    cell.strip_prefix(' ').unwrap_or(cell).trim_end().to_owned()
}

/// Whether it is a line between rows: drawn, without a word.
fn is_rule(line: &str) -> bool {
    let is_drawn = |c: char| "-+|: ".contains(c) || ('─'..='╿').contains(&c);
    line.chars().all(is_drawn) && line.contains(['-', '─', '═'])
}

/// The number in psql's `(2 rows)`, in whatever language.
fn footer(line: &str) -> Option<usize> {
    let inner = line.trim().strip_prefix('(')?.strip_suffix(')')?;
    inner.split_whitespace().next()?.parse().ok()
}

fn check_count(told: usize, read: usize) -> Result<(), Error> {
    if told == read {
        return Ok(());
    }
    Err(format!("it says that it has {told} rows, and {read} were read").into())
}

/// One column a line.
fn records(lines: &[&str]) -> Result<Vec<Row>, Error> {
    let mut rows: Vec<Row> = Vec::new();
    let mut open: Option<(usize, Record)> = None;
    let mut first = None;
    let mut told = None;
    for (at, line) in lines.iter().enumerate() {
        told = told.or(footer(line));
        if told.is_some() || line.trim().is_empty() || is_record_mark(line) {
            rows.extend(open.take().map(Record::close).transpose()?);
            if told.is_some() {
                break;
            }
            continue;
        }
        let Some((name, value)) = member(line) else {
            match open {
                // A message of psql's, a prompt.
                None => continue,
                Some(_) => return Err(format!("line {}: it is not one of a record", at + 1).into()),
            }
        };
        // CSV has nothing between two records.
        if *first.get_or_insert(name) == name {
            rows.extend(open.take().map(Record::close).transpose()?);
        }
        let (_, record) = open.get_or_insert((at, Record::default()));
        let place = match name {
            ARN => &mut record.arn,
            ROLE => &mut record.role,
            _ => continue,
        };
        if place.replace(value?).is_some() {
            return Err(format!("line {}: duplicate column {name}", at + 1).into());
        }
    }
    rows.extend(open.take().map(Record::close).transpose()?);
    match told {
        Some(told) => check_count(told, rows.len())?,
        None if rows.is_empty() => {
            return Err(
                "there is no line with the columns arn and pg_role_name: it is not what SELECT * \
                 FROM sys.iam_pg_role_mappings prints"
                    .into(),
            );
        }
        None => {}
    }
    Ok(rows)
}

/// The part of a record that has been read.
#[derive(Default)]
struct Record {
    arn: Option<String>,
    role: Option<String>,
}

impl Record {
    fn close((at, record): (usize, Self)) -> Result<Row, Error> {
        let place = format!("line {}", at + 1);
        let missing = |name: &str| format!("{place}: the record has no {name}");
        Ok(Row {
            arn: record.arn.ok_or_else(|| missing(ARN))?,
            role: record.role.ok_or_else(|| missing(ROLE))?,
            place,
        })
    }
}

/// Whether a line begins a record: `-[ RECORD 1 ]---`, or `* Record 1`.
fn is_record_mark(line: &str) -> bool {
    let drawn = |c: char| "-+|* ".contains(c) || ('─'..='╿').contains(&c);
    let inner = line.trim_start_matches(drawn);
    let is_framed = inner.starts_with('[') && inner.contains(']');
    is_framed || line.starts_with("* ") || is_rule(line)
}

/// The column and the value of one line of a record.
fn member(line: &str) -> Option<(&'static str, Result<String, Error>)> {
    const BARS: [char; 2] = ['|', '│'];
    let is_framed = line.starts_with(BARS);
    let inner = line.trim_start_matches(BARS).trim_start();
    let end = inner.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
    let name = COLUMNS.into_iter().find(|column| *column == name)?;
    let rest = rest.trim_start_matches(' ');
    if let Some(value) = rest.strip_prefix(',') {
        return Some((name, csv_value(value)));
    }
    let value = rest.strip_prefix(BARS).or(rest.strip_prefix('\t'));
    let value = padded(value.unwrap_or(rest));
    let value = match is_framed {
        true => padded(value.strip_suffix(BARS).unwrap_or(&value)),
        false => value,
    };
    Some((name, Ok(value)))
}

fn csv_value(value: &str) -> Result<String, Error> {
    if value.contains('"') {
        return Err("a record of CSV with quotes: have it printed without \\x".into());
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "arn:aws:iam::012345678912:role/team/app";
    const DBA: &str = "arn:aws:iam::012345678912:user/dba";

    fn mapping(role: &str, arn: &str) -> Mapping {
        Mapping {
            role: role.into(),
            arn: arn.into(),
        }
    }

    /// Two mappings as psql 15 printed them; the last is a copied session.
    #[test]
    fn what_psql_prints_in_every_format() {
        let forms: Vec<_> = include_str!("mappings/printed.txt").split("== ").collect();
        let forms = forms.iter().filter_map(|form| form.split_once('\n'));
        let expected = [mapping("reader", APP), mapping("Über_ops", DBA)];
        let mut count = 0;
        for (name, form) in forms {
            count += 1;
            for form in [form.to_owned(), form.replace('\n', "\r\n")] {
                assert_eq!(read(&form).as_deref(), Ok(&expected[..]), "{name}: {form}");
            }
        }
        assert_eq!(count, 14);
    }

    #[test]
    fn names_that_only_some_forms_can_tell() {
        let csv = format!("arn,pg_role_name\n{APP},\"a,\"\"b\"\" | c\nd\"\n");
        assert_eq!(read(&csv), Ok(vec![mapping("a,\"b\" | c\nd", APP)]));
        let json = format!(r#"[{{"pg_role_name": " x | y ", "arn": "{APP}", "iam_oid": "1"}}]"#);
        assert_eq!(read(&json), Ok(vec![mapping(" x | y ", APP)]));
        let record = format!("-[ RECORD 1 ]-+--\narn | {APP}\npg_role_name | a | b\n");
        assert_eq!(read(&record), Ok(vec![mapping("a | b", APP)]));
    }

    #[test]
    fn nobody_is_mapped_in_an_empty_table() {
        for text in [
            " arn | pg_role_name \n-----+--------------\n(0 rows)\n",
            "arn,pg_role_name\n",
            "(0 rows)\n",
            "[]",
        ] {
            assert_eq!(read(text), Ok(vec![]), "{text}");
        }
        let twice = format!("arn,pg_role_name\n{APP},r\n{APP},r\n");
        assert_eq!(read(&twice), Ok(vec![mapping("r", APP)]));
    }

    #[test]
    fn faults_name_their_line() {
        let head = " arn | pg_role_name \n-----+--------------\n";
        for (text, fault) in [
            (" \n".to_owned(), "it is empty"),
            (
                "hello\n".to_owned(),
                "there is no line with the columns arn and pg_role_name",
            ),
            (
                format!("{head} {APP} | a | b\n"),
                "line 3: it has 3 columns, and the header has 2",
            ),
            (
                format!("{head} {APP} | a +\n | b\n"),
                "line 4: \"\" is not the ARN of an IAM user or role",
            ),
            (
                format!("{head} {APP} | a\n(2 rows)\n"),
                "it says that it has 2 rows, and 1 were read",
            ),
            (
                format!(
                    "arn,pg_role_name\n{APP},r\narn:aws:sts::012345678912:assumed-role/a/b,x\n"
                ),
                "line 3: \"arn:aws:sts::012345678912:assumed-role/a/b\" is not the ARN",
            ),
            (format!("arn,pg_role_name\n{APP}\n"), "line 2: CSV error"),
            (
                format!("arn,pg_role_name\n{APP},\n"),
                "line 2: the name of the role is invalid",
            ),
            (
                format!("-[ RECORD 1 ]-\narn | {APP}\n-[ RECORD 2 ]-\n"),
                "line 2: the record has no pg_role_name",
            ),
            (
                format!("pg_role_name | a\narn | {APP}\narn | {APP}\n"),
                "line 3: duplicate column arn",
            ),
            (
                format!("arn | {APP}\npg_role_name | a +\n | b\n"),
                "line 3: it is not one of a record",
            ),
            (
                format!("arn,{APP}\npg_role_name,\"a\"\n"),
                "a record of CSV with quotes: have it printed without \\x",
            ),
            (
                format!(r#"[{{"arn": "{APP}"}}]"#),
                "missing field `pg_role_name`",
            ),
            (
                format!(r#"[{{"arn": "{APP}", "pg_role_name": null}}]"#),
                "invalid type: null, expected a string",
            ),
            (
                format!(r#"{{"arn": "{APP}", "arn": "{APP}", "pg_role_name": "r"}}"#),
                "duplicate field `arn`",
            ),
        ] {
            let said = read(&text).expect_err(&text).to_string();
            assert!(said.starts_with(fault), "{text}: {said}");
        }
    }
}
