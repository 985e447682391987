//! Builds the C files in `src/` against the headers of the server that the extension is built for.

use std::process::Command;

const C_FILES: [&str; 9] = [
    "src/async_index.c",
    "src/lexer.c",
    "src/port.c",
    "src/roles.c",
    "src/server_settings.c",
    "src/session_end.c",
    "src/session_parameters.c",
    "src/startup.c",
    "src/tls.c",
];
const HEADER: &str = "src/server.h";

fn main() {
    for file in C_FILES.iter().chain([&HEADER]) {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    let major = (14..=19)
        .find(|major| std::env::var_os(format!("CARGO_FEATURE_PG{major}")).is_some())
        .expect("exactly one of the features pg14 … pg19 has to be on");
    println!(
        "cargo::rustc-env=DSQL_IAM_LIBRARY=dsql_iam library, version {} for PostgreSQL {major}",
        env!("CARGO_PKG_VERSION")
    );
    let includes = match pg_config(major, "--includedir-server") {
        Ok(includes) => includes,
        Err(fault) => panic!("no headers of PostgreSQL {major}: {fault}"),
    };
    println!("cargo::rerun-if-changed={includes}/pg_config.h");
    cc::Build::new()
        .files(C_FILES)
        .include(includes)
        // The server's headers are not ours to mend.
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Wno-sign-compare")
        .compile("dsql_iam_port");
}

/// Asks the pg_config that pgrx uses: the one in `PGRX_PG_CONFIG_PATH`, or the one that
/// `cargo pgrx init` noted for this version.
fn pg_config(major: u16, option: &str) -> Result<String, String> {
    let path = match std::env::var("PGRX_PG_CONFIG_PATH") {
        Ok(path) => path,
        Err(_) => from_pgrx_home(major)
            .ok_or("set PGRX_PG_CONFIG_PATH to its pg_config, or use `cargo pgrx init`")?,
    };
    let output = Command::new(&path)
        .arg(option)
        .output()
        .map_err(|error| format!("could not run {path}: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(text.trim().to_owned())
}

/// Reads `pgNN = "PATH"` from `$PGRX_HOME/config.toml` (`~/.pgrx` by default).
fn from_pgrx_home(major: u16) -> Option<String> {
    let home = std::env::var("PGRX_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.pgrx")))
        .ok()?;
    let text = std::fs::read_to_string(format!("{home}/config.toml")).ok()?;
    text.lines().find_map(|line| {
        let (name, path) = line.split_once('=')?;
        (name.trim() == format!("pg{major}")).then(|| path.trim().trim_matches('"').to_owned())
    })
}
