//! The measured figures, as tables for a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{run, workspace};

/// The figures by name: one value for each round.
#[derive(Default)]
pub struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Adds the figure of a round.
    pub fn add(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// A comparison of two figures, for each round.
    fn compared(&self, name: &str, base: &str, compare: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let pairs = self.of(name).iter().zip(self.of(base));
        pairs.map(|(&value, &base)| compare(value, base)).collect()
    }
}

/// The name of the figure of a login's page faults.
pub fn faults(login: &str) -> String {
    format!("page faults, {login}")
}

/// The name of the figure of a login's processor time.
pub fn processor_time(login: &str) -> String {
    format!("processor time, {login}")
}

/// How many words the lexer is asked about in the queries that measure what one costs.
pub const WORDS: usize = 200;

/// The benchmarks of `iam/benches` and `server/benches`: the name there, a description, and the target if there is one.
const PARTS: [(&str, &str, &str); 16] = [
    ("parse", "a token is taken apart", ""),
    ("canonical request", "its canonical request", ""),
    (
        "signature",
        "its signature, the canonical request included",
        "",
    ),
    (
        "login/small account, by an excerpt",
        "a login's own work: its part of the documents, token and policies",
        "≤ 15 µs",
    ),
    (
        "login/large account, by an excerpt",
        "the same, of 5,000 roles and policies",
        "≤ 15 µs",
    ),
    (
        "login/small account",
        "the same, by documents that are in memory",
        "",
    ),
    ("login/large account", "of 5,000 roles and policies", ""),
    ("policy/1", "a policy of 1 statement decides", ""),
    ("policy/10", "of 10 statements", ""),
    ("policy/100", "of 100 statements", ""),
    ("policy/1000", "of 1,000 statements", ""),
    (
        "documents/load a large account",
        "5,000 roles and policies are loaded",
        "",
    ),
    (
        "documents/write its excerpts",
        "and written for other processes",
        "",
    ),
    (
        "documents/look at many",
        "5,000 documents are looked at, whether one has changed",
        "",
    ),
    (
        "statement/AWS IAM GRANT",
        "a statement is found and rewritten, once its place is known",
        "",
    ),
    (
        "statement/a column aws",
        "a word `aws` that is none, the same",
        "",
    ),
];

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The median, between the bounds of the half of the values around it.
fn quartiles(values: &[f64]) -> [f64; 3] {
    [0.25, 0.5, 0.75].map(|part| quantile(values, part))
}

/// The value that this part of the values does not exceed, between two of them if it falls there; not a number if there
/// are none.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = last as f64 * part;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    low + (high - low) * place.fract()
}

/// The table: a figure and its median, the same of the figure beside it, the median of the rounds' ratios and the range
/// of half of them, and the target.
pub fn of_logins(figures: &Figures, rounds: u32, seconds: u32) -> String {
    let of = |name: &str| median(figures.of(name));
    let mut table = String::from(
        "| figure | median | against | its median | ratio | half of them | target |\n\
         |---|---:|---|---:|---:|---|---|\n",
    );
    for (name, base, target) in [
        ("IAM, TLS", "trust, TLS", "≥ 0.97"),
        ("IAM", "trust", "≥ 0.97"),
        ("IAM, TLS", "SCRAM, TLS", "≥ 2"),
        ("IAM", "SCRAM", "≥ 2"),
        ("password, TLS", "trust, TLS", ""),
        ("password", "trust", ""),
        ("IAM, TLS", "password, TLS", "≥ 0.985"),
        ("IAM", "password", "≥ 0.985"),
        ("IAM, long session token", "IAM", ""),
        ("IAM, 10,000 mappings", "IAM", ""),
        ("IAM, large directory", "IAM", ""),
        ("IAM, a session", "IAM", ""),
        ("IAM, one of 50,000 sessions", "IAM, a session", ""),
        ("IAM, one of 50,000 sessions", "IAM", "≥ 0.97"),
        ("assume-role, 50,000 sessions", "assume-role", ""),
        ("pgbench -S with", "pgbench -S without", "≥ 0.99"),
        ("words with", "words without", "≥ 0.99"),
        ("identifiers with", "identifiers without", ""),
        ("aws with", "aws without", ""),
        ("indented with", "indented without", ""),
    ] {
        let ratios = figures.compared(name, base, |value, base| value / base);
        let [low, ratio, high] = quartiles(&ratios);
        let _ = writeln!(
            table,
            "| {name} | {:.0}/s | {base} | {:.0}/s | {ratio:.3} | {low:.3} to {high:.3} | {target} |",
            of(name),
            of(base)
        );
    }
    let mut difference = |name: &str, base: &str, unit: &str, decimals: usize, target: &str| {
        let differences = figures.compared(name, base, |value, base| value - base);
        let [low, middle, high] = quartiles(&differences);
        let _ = writeln!(
            table,
            "| {name} | {:.decimals$} {unit} | {base} | {:.decimals$} {unit} | {middle:+.decimals$} {unit} | \
             {low:+.decimals$} to {high:+.decimals$} | {target} |",
            of(name),
            of(base)
        );
    };
    for (name, base) in [("IAM", "password"), ("IAM, TLS", "password, TLS")] {
        difference(&faults(name), &faults(base), "each", 0, "");
        difference(&processor_time(name), &processor_time(base), "ms", 3, "");
    }
    difference("memory with", "memory without", "KiB", 0, "≤ +48 KiB");
    // Two clients at a time: a query takes as long as two queries of one of them.
    let per_word = |with: f64, without: f64| 2e9 * (1.0 / with - 1.0 / without) / WORDS as f64;
    for (what, name) in [
        ("an identifier costs", "identifiers"),
        ("an identifier `aws` costs", "aws"),
        ("one at the end of a line costs", "indented"),
    ] {
        let (with, without) = (format!("{name} with"), format!("{name} without"));
        let cost = median(&figures.compared(&with, &without, per_word));
        let _ = writeln!(table, "| {what} | {cost:.0} ns more | | | | | |");
    }
    let _ = writeln!(table, "\nMedians of {rounds} rounds of {seconds} s.");
    table
}

/// Has Criterion measure the parts of a login, and gives the table of its medians.
pub fn of_parts(target: &Path) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(serde::Deserialize)]
    struct Estimate {
        /// In nanoseconds.
        point_estimate: f64,
    }

    let mut bench = workspace::cargo();
    bench.args(["bench", "--package", "dsql-iam-core", "--bench", "login"]);
    bench.args(["--package", "dsql-iam-server", "--bench", "statement"]);
    // Medians of what takes nanoseconds settle in less than Criterion's own time.
    let times = ["--warm-up-time", "1", "--measurement-time", "3"];
    run::run(bench.args(["--", "--noplot"]).args(times))?;
    let mut table = String::from("\n| part, in one process | median | target |\n|---|---:|---|\n");
    for (name, what, limit) in PARTS {
        // Criterion makes one folder of a name, and one of each part of a group's.
        let folder = target.join("criterion").join(name);
        let path = folder.join("new/estimates.json");
        let text = fs::read(&path).with_context(|| format!("Criterion did not measure {name}"))?;
        let nanoseconds = serde_json::from_slice::<Estimates>(&text)?
            .median
            .point_estimate;
        let median = match nanoseconds {
            long if long >= 1e6 => format!("{:.1} ms", long / 1e6),
            middle if middle >= 1e3 => format!("{:.1} µs", middle / 1e3),
            short => format!("{short:.0} ns"),
        };
        let _ = writeln!(table, "| {what} | {median} | {limit} |");
    }
    Ok(table)
}

/// The page with these tables: what stands above its first table stays as it is.
///
/// # Errors
/// If the page has no table.
pub fn page(page: &str, tables: &str, machine: &str) -> Result<String> {
    let head = page.find("\n| figure |").context("no table of figures")?;
    Ok(format!("{}\n{tables}\n{machine}\n", &page[..head]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_list() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quartiles(&[5.0, 2.0, 3.0, 4.0, 1.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&[7.0]), [7.0; 3]);
        assert!(median(&[]).is_nan());
    }

    /// A machine that is twice as fast in the second round: the ratio within each counts.
    #[test]
    fn a_ratio_is_that_of_one_round() {
        let mut figures = Figures::default();
        for (name, values) in [
            ("IAM", [90.0, 180.0, 270.0]),
            ("password", [100.0, 200.0, 300.0]),
            ("memory with", [58.0, 60.0, 62.0]),
            ("memory without", [50.0, 50.0, 50.0]),
        ] {
            for value in values {
                figures.add(name, value);
            }
        }
        let table = of_logins(&figures, 3, 1);
        for row in [
            "| IAM | 180/s | password | 200/s | 0.900 | 0.900 to 0.900 | ≥ 0.985 |\n",
            "| memory with | 60 KiB | memory without | 50 KiB | +10 KiB | +9 to +11 | ≤ +48 KiB |\n",
        ] {
            assert!(table.contains(row), "{table}");
        }
    }

    #[test]
    fn the_text_above_the_tables_stays() {
        let before =
            "# Performance\n\nText.\n\n| figure | median |\n|---|---|\n| a | 1 |\n\nTaken then.\n";
        let after = page(
            before,
            "| figure | median |\n|---|---|\n| a | 2 |\n",
            "Taken now.",
        )
        .unwrap();
        let expected =
            "# Performance\n\nText.\n\n| figure | median |\n|---|---|\n| a | 2 |\n\nTaken now.\n";
        assert_eq!(after, expected);
        assert!(page("# Performance\n", "", "").is_err());
    }

    /// The figures of a page that have a target, by the names of decisions.md, and whether they meet it.
    fn targets(page: &str) -> Vec<(String, bool)> {
        let amount = |text: &str| {
            let text = text.trim_start_matches(['≥', '≤', ' ', '+']);
            let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
            let scale = match unit {
                "µs" => 1e3,
                "ms" => 1e6,
                "" | "ns" | "KiB" => 1.0,
                _ => panic!("the unit of {text}"),
            };
            number.parse::<f64>().unwrap() * scale
        };
        let rows = page
            .lines()
            .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect());
        let of_row = |cells: Vec<&str>| {
            let (name, value, target) = match cells[..] {
                [figure, _, against, _, value, _, target] => {
                    (format!("`{figure}` against `{against}`"), value, target)
                }
                [part, value, target] => (format!("`{part}`"), value, target),
                _ => return None,
            };
            let is_met = match target.chars().next()? {
                '≥' => amount(value) >= amount(target),
                '≤' => amount(value) <= amount(target),
                _ => return None,
            };
            Some((name, is_met))
        };
        rows.filter_map(of_row).collect()
    }

    #[test]
    fn targets_that_are_met_and_missed() {
        let page = "| figure | median | against | its median | ratio | half of them | target |\n\
                    |---|---:|---|---:|---:|---|---|\n\
                    | a | 9/s | b | 10/s | 0.900 | 0.9 to 0.9 | ≥ 0.97 |\n\
                    | c | 10/s | b | 10/s | 1.000 | 1 to 1 |  |\n\
                    | d | 8 KiB | e | 1 KiB | +7 KiB | +7 to +7 | ≤ +8 KiB |\n\
                    | f | 1.1 ms | ≤ 15 µs |\n\
                    | g | 900 ns | ≤ 15 µs |\n";
        let expected = [
            ("`a` against `b`", false),
            ("`d` against `e`", true),
            ("`f`", false),
            ("`g`", true),
        ];
        assert_eq!(
            targets(page),
            expected.map(|(name, is_met)| (name.to_owned(), is_met))
        );
    }

    #[test]
    fn a_figure_that_misses_its_target_has_its_reason() {
        let read = |name| fs::read_to_string(workspace::root().join(name)).unwrap();
        let targets = targets(&read("docs/performance.md"));
        assert!(targets.len() > 5, "{targets:?}");
        let decisions = read("docs/decisions.md");
        let (_, section) = decisions
            .split_once("### Figures that miss their target")
            .unwrap();
        // A line may end within a name.
        let section = section.split("\n#").next().unwrap().replace('\n', " ");
        let missed = targets.iter().filter(|(_, is_met)| !is_met);
        let unexplained: Vec<_> = missed.filter(|(name, _)| !section.contains(name)).collect();
        assert!(
            unexplained.is_empty(),
            "not in docs/decisions.md: {unexplained:?}"
        );
    }
}
