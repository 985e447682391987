//! The session parameters that Aurora DSQL takes, and those that it refuses.
//!
//! Source: the table "Supported session parameters" of AWS's documentation. Every other parameter is refused with
//! 0A000, in the startup packet and in a statement.

/// `ERRCODE_FEATURE_NOT_SUPPORTED`
pub(crate) const NOT_SUPPORTED: &str = "0A000";

/// The parameters that a client may set, at its start, for its session, and for a transaction. `role` is apart:
/// [`takes`].
const SUPPORTED: [&str; 17] = [
    "application_name",
    "client_encoding",
    "datestyle",
    "disable_sync_create_index",
    "dsql.enable_batched_nestloop",
    "enable_bitmapscan",
    "enable_hashjoin",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "timezone",
];

/// Names the cluster, for clients without Server Name Indication. Set at the start only.
const CLUSTER_ID: &str = "amzn_cluster_id";

/// How a parameter is to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// For longer than a transaction: in the startup packet, by `SET`, or with a role, a database or a function.
    Session,
    /// By `SET LOCAL` in a transaction block.
    Transaction,
}

/// Whether Aurora DSQL takes this parameter, whose name counts in whichever case.
pub fn takes(name: &str, scope: Scope) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    SUPPORTED.into_iter().any(is) || (scope == Scope::Transaction && is("role"))
}

/// The primary message about a parameter that is not taken.
pub fn message(name: &str) -> String {
    format!("setting configuration parameter \"{name}\" not supported")
}

/// The first parameter of a startup packet that Aurora DSQL does not take; `None` if it takes all.
///
/// `options` is that of the connection string, and `names` are the parameters that are sent by themselves. A
/// switch of `options` other than `-c` and `--` stands for itself.
pub fn refused_at_startup<'a>(
    options: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let names = names.into_iter().map(str::to_owned);
    let mut all = names_in(options).into_iter().chain(names);
    all.find(|name| !takes(name, Scope::Session) && !name.eq_ignore_ascii_case(CLUSTER_ID))
}

/// The names of the parameters in `options`, as PostgreSQL reads them: there `-` stands for `_`.
fn names_in(options: &str) -> Vec<String> {
    let mut words = words(options).into_iter();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(setting) => setting.to_owned(),
            None => match word.strip_prefix("-c") {
                Some("") => words.next().unwrap_or_default(),
                Some(setting) => setting.to_owned(),
                None if word.starts_with('-') => {
                    names.push(word.chars().take(2).collect());
                    continue;
                }
                // Not a switch at all: PostgreSQL refuses it.
                None => continue,
            },
        };
        let (name, _) = setting.split_once('=').unwrap_or((&setting, ""));
        names.push(name.replace('-', "_"));
    }
    names
}

/// Takes `options` apart at blanks, of which a backslash makes ordinary characters.
fn words(options: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        // C's isspace().
        if character.is_ascii_whitespace() || character == '\u{b}' {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match character {
            '\\' => word.extend(characters.next()),
            other => word.push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_decides_and_the_case_does_not() {
        for name in [
            "search_path",
            "DateStyle",
            "TIMEZONE",
            "dsql.enable_batched_nestloop",
        ] {
            assert!(takes(name, Scope::Session), "{name}");
            assert!(takes(name, Scope::Transaction), "{name}");
        }
        for name in [
            "statement_timeout",
            "client_min_messages",
            "session_authorization",
            "default_transaction_read_only",
            "app.tenant",
            "search_path ",
            "",
        ] {
            assert!(!takes(name, Scope::Session), "{name}");
            assert!(!takes(name, Scope::Transaction), "{name}");
        }
    }

    #[test]
    fn a_role_is_taken_for_a_transaction_only() {
        assert!(!takes("role", Scope::Session));
        assert!(takes("Role", Scope::Transaction));
    }

    #[test]
    fn the_first_of_a_startup_packet_that_is_not_taken() {
        for (options, names, refused) in [
            ("", &[][..], None),
            ("", &["client_encoding", "DateStyle", "TimeZone"], None),
            (
                "",
                &["extra_float_digits", "lock_timeout"],
                Some("lock_timeout"),
            ),
            (
                "-c statement_timeout=1s",
                &["role"],
                Some("statement_timeout"),
            ),
            ("-cstatement_timeout=1s", &[], Some("statement_timeout")),
            ("--statement-timeout=1s", &[], Some("statement_timeout")),
            ("-c search_path=a -c role=b", &[], Some("role")),
            ("-c amzn-cluster-id=abc --search_path=a", &[], None),
            ("", &["amzn_cluster_id"], None),
            ("-c search_path=a\\ -c\\ role=b", &[], None),
            ("-c\u{b}work_mem=64", &[], Some("work_mem")),
            ("-S 64", &[], Some("-S")),
            ("-c", &[], Some("")),
            ("word", &[], None),
        ] {
            let found = refused_at_startup(options, names.iter().copied());
            assert_eq!(found.as_deref(), refused, "{options} {names:?}");
        }
    }
}
