//! The files that configure PostgreSQL, and how values are quoted in them.

use std::path::Path;

use crate::certificates::Certificates;
use crate::cluster::{Cluster, Linked};

/// The name of our own file, which `postgresql.conf` includes.
pub const FILE: &str = "dsql_iam.conf";

/// The line that includes it. The file may be gone: then it is a PostgreSQL like any other.
pub const INCLUDE: &str = "include_if_exists = 'dsql_iam.conf'";

/// The values that the settings depend on.
pub struct Settings<'a> {
    /// The TCP port.
    pub port: u16,
    /// The folder of the Unix socket.
    pub sockets: &'a Path,
    /// The certificates; nothing if the server cannot do TLS.
    pub certificates: Option<&'a Certificates>,
    /// The cluster that the server stands for.
    pub cluster: &'a Cluster,
    /// The clusters linked with it.
    pub linked: &'a [Linked],
    /// The folder of the IAM documents.
    pub iam: &'a Path,
    /// Whether to leave out what only makes the server more like Aurora DSQL's.
    pub plain: bool,
}

/// As many connections as programs for Aurora DSQL count on.
const MAX_CONNECTIONS: &str = "1000";

/// The memory in kB that a server with so many needs to be at ease; with less PostgreSQL's own default
/// is left.
const ENOUGH_MEMORY: u64 = 1_000_000;

impl Settings<'_> {
    /// The content of `dsql_iam.conf`.
    pub fn render(&self) -> String {
        let mut text =
            "# Written by cargo xtask up; changes are lost at the next one.\n".to_owned();
        let mut set = |name: &str, value: &str| {
            text.push_str(&format!("{name} = {}\n", quote(value)));
        };
        set("listen_addresses", "localhost");
        set("port", &self.port.to_string());
        // A list, whose elements have quotes of their own: the path may hold a comma.
        set("unix_socket_directories", &quote_element(self.sockets));
        set("shared_preload_libraries", "dsql_iam");
        set("log_connections", "on");
        set("log_disconnections", "on");
        // Nothing that a client chose: names of roles and databases may hold anything.
        set("log_line_prefix", "%m [%p] %q%h ");
        // A developer wants to see why, at each attempt.
        set("dsql_iam.max_logged_refusals", "0");
        if !self.plain {
            // As on Aurora DSQL, where it costs nothing.
            set("default_transaction_isolation", "repeatable read");
            set("TimeZone", "UTC");
            set("log_timezone", "UTC");
            set("dsql_iam.async_indexes", "on");
            let linked = self.linked.iter().map(|linked| self.cluster.at(linked));
            let mut names = vec![self.cluster.private_link()];
            names.extend(linked.map(|cluster| cluster.private_link()));
            set("dsql_iam.endpoints", &names.join(", "));
            if memory().is_some_and(|memory| memory >= ENOUGH_MEMORY) {
                set("max_connections", MAX_CONNECTIONS);
            }
        }
        match self.certificates {
            Some(certificates) => {
                set("ssl", "on");
                set("ssl_cert_file", &certificates.certificate.to_string_lossy());
                set("ssl_key_file", &certificates.key.to_string_lossy());
            }
            None => {
                set("ssl", "off");
                set("dsql_iam.require_tls", "off");
            }
        }
        set("dsql_iam.account_id", &self.cluster.account_id);
        set("dsql_iam.region", &self.cluster.region);
        set("dsql_iam.cluster_id", &self.cluster.id);
        if !self.linked.is_empty() {
            let linked: Vec<String> = self.linked.iter().map(Linked::to_string).collect();
            set("dsql_iam.linked_clusters", &linked.join(", "));
        }
        set("dsql_iam.iam_directory", &self.iam.to_string_lossy());
        set("dsql_iam.loopback_endpoints", "on");
        text
    }
}

/// How much memory the machine has, in kB, if it says so.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The content of `pg_hba.conf`: the superuser, over the socket. The extension brings the lines for
/// everybody else.
pub const HBA: &str = "\
# Written by cargo xtask up. The extension adds the lines for IAM connections itself.
local all         postgres              peer map=up
local replication postgres              peer map=up
host  replication postgres 127.0.0.1/32 scram-sha-256
host  replication postgres ::1/128      scram-sha-256
";

/// The content of `pg_ident.conf`: which users of the operating system may be the superuser.
pub fn ident<'a>(users: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = "# Written by cargo xtask up.\n".to_owned();
    for user in users {
        let user = user.replace('"', "\"\"");
        text.push_str(&format!("up \"{user}\" postgres\n"));
    }
    text
}

/// Quotes a value for `postgresql.conf`, where a backslash escapes.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

/// Quotes an element of a list of paths inside a value.
fn quote_element(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('"', "\"\""))
}

/// Quotes a value for a connection string.
pub fn quote_conninfo(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn values_are_quoted_as_their_readers_expect() {
        assert_eq!(quote(r"it's a \"), r"'it''s a \\'");
        assert_eq!(quote_conninfo(r"it's a \"), r"'it\'s a \\'");
        assert_eq!(quote_element(Path::new("a \"b\", c")), "\"a \"\"b\"\", c\"");
    }

    #[test]
    fn without_tls_the_extension_does_not_ask_for_it() {
        let settings = Settings {
            port: 5432,
            sockets: Path::new("/run"),
            certificates: None,
            cluster: &Cluster::sample(),
            linked: &[],
            iam: Path::new("/iam"),
            plain: false,
        };
        let text = settings.render();
        assert!(text.contains("dsql_iam.require_tls = 'off'"));
        assert!(text.contains("default_transaction_isolation = 'repeatable read'"));
        let plain = Settings {
            plain: true,
            ..settings
        };
        let text = plain.render();
        assert!(!text.contains("isolation") && !text.contains("max_connections"));
    }
}
