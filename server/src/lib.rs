//! Decides about a PostgreSQL server from values alone.
//!
//! `iam` knows AWS and no PostgreSQL; the extension talks to PostgreSQL and decides nothing. This crate is
//! between them, and is tested and fuzzed without a server.
//!
//! The modules whose functions are called by the module's name are public; of the others this file has
//! what is used outside. `docs/architecture.md` says what each holds.

#![forbid(unsafe_code)]
// The face of the crate is what this file says, and no more.
#![warn(unreachable_pub)]

pub mod async_index;
pub mod aws_iam;
mod connect_options;
mod counts;
pub mod doctor;
pub mod hba;
mod limits;
mod log_line;
mod refusal;
mod refusal_log;
mod scan;
pub mod session_parameters;

pub use connect_options::{OtherCluster, named_cluster};
pub use counts::Counts;
pub use limits::{Limits, Reached, Usage};
pub use log_line::{last_line, log_line, omitted_sentence, session_id};
pub use refusal::Refusal;
pub use refusal_log::{Omitted, PrincipalArn, RefusalLog, Refused, Whose, Written};
