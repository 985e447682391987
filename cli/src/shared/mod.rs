//! Parts that several commands need, one idea a file.

pub mod cluster;
pub mod conninfo;
pub mod error;
pub mod file_argument;
pub mod iam_directory;
pub mod mappings;
pub mod offline;
pub mod owner;
pub mod postgres;
pub mod random;
pub mod region;
pub mod sessions;
pub mod shorthand;
