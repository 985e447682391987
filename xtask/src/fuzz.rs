//! `cargo xtask fuzz`: libFuzzer on what reads input that others wrote.
//!
//! AddressSanitizer and the coverage that libFuzzer is guided by are compiler options that stable Rust
//! does not offer. They are in the stable compiler all the same: `RUSTC_BOOTSTRAP=1` lets it take
//! them, so that nobody needs a nightly one. It is set for these builds alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{run, tool, workspace};

/// The version of cargo-fuzz that is installed if there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// The longest input in bytes: what is longer is refused, or more of the same.
const MAX_LEN: u32 = 16 * 1024;

/// The arguments of `fuzz`.
#[derive(Args)]
pub struct Arguments {
    /// The targets to fuzz [default: all of them, one after the other]
    #[arg(value_name = "TARGET")]
    targets: Vec<Target>,

    /// How long each of them runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,

    /// Add inputs that reach what none in `fuzz/corpus` reaches, as few as will do
    #[arg(long)]
    keep: bool,
}

/// The targets, as in `fuzz/Cargo.toml`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The token parser
    Token,
    /// Policy documents, and what they decide
    Policy,
    /// The loader of IAM documents
    Documents,
    /// The grammar of AWS IAM statements
    Statement,
    /// The changes to the lexer's buffer
    Lexer,
    /// The user's lines in the hba file
    Hba,
}

impl Target {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no target is hidden");
        value.get_name().to_owned()
    }
}

/// Runs `fuzz`; an error if something was found. The input is in `fuzz/artifacts` then.
pub fn run(arguments: &Arguments) -> Result<()> {
    let target = workspace::target_directory()?;
    let cargo_fuzz = tool::installed("fuzz", CARGO_FUZZ, &target)?;
    let targets = match &*arguments.targets {
        [] => Target::value_variants(),
        named => named,
    };
    for name in targets.iter().map(|target| target.name()) {
        println!("\n=== {name}, {} s ===", arguments.seconds);
        let known = workspace::root().join("fuzz/corpus").join(&name);
        // New inputs go here: the tree stays as it is, and the next run goes on from them.
        let found = target.join("fuzz-corpus").join(&name);
        fs::create_dir_all(&found)?;
        let libfuzzer = |corpora: [&Path; 2], option: String| {
            let mut command = Command::new(&cargo_fuzz);
            command
                .current_dir(workspace::root())
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["fuzz", "run", "--target-dir"])
                .arg(target.join("fuzz"))
                .arg(&name)
                .args(corpora)
                .arg("--")
                .arg(option)
                .arg(format!("-max_len={MAX_LEN}"))
                .args(["-timeout=10", "-verbosity=0", "-print_final_stats=1"]);
            run::run(&mut command)
        };
        let time = format!("-max_total_time={}", arguments.seconds);
        libfuzzer([&found, &known], time).with_context(|| format!("{name}: a finding, above"))?;
        if arguments.keep {
            libfuzzer([&known, &found], "-merge=1".into())?;
        }
    }
    Ok(())
}
