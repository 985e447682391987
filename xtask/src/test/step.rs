//! The steps of the tests, and the PostgreSQL that they run with.

use std::path::PathBuf;

use clap::ValueEnum;

/// The PostgreSQL to test with.
pub enum Source {
    /// The one of this `pg_config`, else one that is found.
    Found(Option<PathBuf>),
    /// One of this major version.
    Major(u32),
}

/// The steps, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// The unit tests of the crates that need no server
    Unit,
    /// The extension, built and no more: for versions that nothing else runs on
    Build,
    /// A fresh server for the steps that follow
    Server,
    /// SQL run by the superuser, compared with what it should print
    InServer,
    /// End to end, with Python's clients and signer
    Python,
    /// End to end, with node's clients and signer
    Node,
    /// End to end, with Rust's clients and signer
    Rust,
    /// End to end, with Java's client
    Java,
    /// End to end, with Go's client and AWS's signer
    Go,
    /// The commands and programs of README.md and docs/
    Readme,
    /// Three nodes under Patroni, and a failover; runs only if it is named
    Ha,
    /// Whether refusals can be told apart by their time; some minutes, best with `--release`, and runs only if it is named
    Timing,
    /// The end of the server
    Down,
    /// PostgreSQL's own regression suite, on servers of its own
    Core,
    /// The Debian package, in a Debian of its own
    Package,
    /// The container image, built and started; takes some minutes, and runs only if it is named
    Image,
}

impl Name {
    pub fn needs_server(self) -> bool {
        !matches!(
            self,
            Self::Unit
                | Self::Build
                | Self::Server
                | Self::Down
                | Self::Core
                | Self::Package
                | Self::Image
        )
    }

    pub fn needs_postgres(self) -> bool {
        !matches!(self, Self::Unit | Self::Image)
    }

    /// Whether it connects as clients of Aurora DSQL do, which is with TLS.
    pub fn needs_tls(self) -> bool {
        matches!(
            self,
            Self::Python
                | Self::Node
                | Self::Rust
                | Self::Java
                | Self::Go
                | Self::Readme
                | Self::Ha
                | Self::Timing
        )
    }

    /// Whether it runs only if it is named: it needs more packages or time than all tests should.
    pub fn is_only_by_name(self) -> bool {
        matches!(self, Self::Ha | Self::Timing | Self::Image)
    }

    /// Whether it is about the same whatever the version of PostgreSQL.
    pub fn is_for_one_version(self) -> bool {
        matches!(self, Self::Unit | Self::Readme | Self::Image)
    }
}
