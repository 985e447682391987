//! A library of dsql_iam: the PostgreSQL and the machine that it is built for.

use std::fs;
use std::path::Path;

use crate::shared::error::Error;
use crate::shared::postgres::Installation;

/// The version of the extension, which is the command's own.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The beginning of the text in a library of ours.
const MARK: &[u8] = b"dsql_iam library, version ";

/// Reads a library, and makes sure that this PostgreSQL will load it: with any other in
/// `shared_preload_libraries` a server does not start.
///
/// # Errors
/// A sentence that names both, and how they differ.
pub fn read(path: &Path, installation: &Installation) -> Result<Vec<u8>, Error> {
    let shown = path.display();
    let content = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let Some((version, major)) = built_for(&content) else {
        return Err(format!(
            "{shown} is not a library of dsql_iam: name a libdsql_iam.so that cargo built, or leave \
             --library out"
        ).into());
    };
    if major != installation.major {
        return Err(format!(
            "{shown} is built for PostgreSQL {major}, and {} is of PostgreSQL {}: name another of the two, \
             or leave --library out",
            installation.pg_config.display(),
            installation.major
        ).into());
    }
    if version != VERSION {
        return Err(format!(
            "{shown} is of dsql_iam {version}, and this command and its scripts are of {VERSION}: use those \
             of one version"
        ).into());
    }
    let program = installation.bin.join("postgres");
    // Where there is none, as on a machine that only makes packages, no server can fail to start.
    let server = fs::read(&program).ok().and_then(|file| Machine::of(&file));
    match (Machine::of(&content), server) {
        (Some(ours), Some(servers)) if ours != servers => Err(format!(
            "{shown} is built for {ours}, and {} for {servers}: build the library on a machine like the \
             server's",
            program.display()
        ).into()),
        _ => Ok(content),
    }
}

/// The version of a library of ours, and the major version of PostgreSQL that it is built for, by the text
/// that `build.rs` of the library puts into it; `None` if it is not one.
fn built_for(content: &[u8]) -> Option<(&str, u32)> {
    // A shared object: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html. A static library
    // has the text as well.
    let is_shared = matches!(content.get(16..18), Some([3, 0] | [0, 3]));
    if !content.starts_with(b"\x7fELF") || !is_shared {
        return None;
    }
    let mut places = memchr::memmem::find_iter(content, MARK);
    // This command is a shared object too, and has the mark alone.
    places.find_map(|place| {
        let text = &content[place + MARK.len()..];
        let text = std::str::from_utf8(text.split(|byte| *byte == 0).next()?).ok()?;
        let (version, major) = text.split_once(" for PostgreSQL ")?;
        Some((version, major.parse().ok()?))
    })
}

/// The machine that an ELF file is for.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    /// of 32 or 64 bit, and the order of bytes: `EI_CLASS` and `EI_DATA`
    class: [u8; 2],
    /// `e_machine`
    number: u16,
}

impl Machine {
    fn of(file: &[u8]) -> Option<Self> {
        let class = <[u8; 2]>::try_from(file.get(4..6)?).ok()?;
        let number = <[u8; 2]>::try_from(file.get(18..20)?).ok()?;
        file.starts_with(b"\x7fELF").then(|| Self {
            class,
            number: match class[1] {
                2 => u16::from_be_bytes(number),
                _ => u16::from_le_bytes(number),
            },
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match (self.number, self.class[0]) {
            (62, _) => "x86-64",
            (183, _) => "64-bit Arm",
            (3, _) => "32-bit x86",
            (40, _) => "32-bit Arm",
            (21, _) => "64-bit PowerPC",
            (22, _) => "IBM Z",
            (243, 2) => "64-bit RISC-V",
            (number, class) => {
                let bits = if class == 2 { 64 } else { 32 };
                return write!(f, "a {bits}-bit machine with the ELF number {number}");
            }
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Machine, built_for};

    #[test]
    fn a_library_of_ours_says_what_it_is_built_for() {
        let library = |kind: [u8; 2], text: &str| {
            let mut content = b"\x7fELF\x02\x01\x01".to_vec();
            content.resize(16, 0);
            content.extend(kind);
            content.extend(b"\0\xffdsql_iam library, version \0");
            content.extend(text.as_bytes());
            content.extend(b"\0more");
            content
        };
        let ours = "dsql_iam library, version 0.1.0 for PostgreSQL 17";
        assert_eq!(built_for(&library([3, 0], ours)), Some(("0.1.0", 17)));
        assert_eq!(built_for(&library([0, 3], ours)), Some(("0.1.0", 17)));
        // An object file, an executable at a fixed place.
        for kind in [[1, 0], [2, 0]] {
            assert_eq!(built_for(&library(kind, ours)), None);
        }
        for text in [
            "",
            "dsql_iam library, version 0.1.0",
            "dsql_iam library, version 0.1.0 for PostgreSQL ",
            "dsql_iam library, version 0.1.0 for PostgreSQL 17x",
        ] {
            assert_eq!(built_for(&library([3, 0], text)), None, "{text}");
        }
        assert_eq!(built_for(ours.as_bytes()), None);
        assert_eq!(built_for(b"\x7fELF"), None);
        assert_eq!(built_for(b""), None);
    }

    #[test]
    fn the_machine_of_a_file_is_in_its_head() {
        let head = |class: u8, data: u8, machine: [u8; 2]| {
            let mut head = b"\x7fELF".to_vec();
            head.extend([class, data]);
            head.resize(18, 0);
            head.extend(machine);
            Machine::of(&head)
        };
        let [x86, arm, z] = [
            head(2, 1, [62, 0]),
            head(2, 1, [183, 0]),
            head(2, 2, [0, 22]),
        ];
        assert_eq!(x86.as_ref().unwrap().to_string(), "x86-64");
        assert_eq!(arm.as_ref().unwrap().to_string(), "64-bit Arm");
        assert_eq!(z.unwrap().to_string(), "IBM Z");
        assert_ne!(x86, arm);
        // x32 is another one, though of the same number.
        assert_ne!(x86, head(1, 1, [62, 0]));
        assert_eq!(
            head(2, 1, [2, 1]).unwrap().to_string(),
            "a 64-bit machine with the ELF number 258"
        );
        assert_eq!(Machine::of(b"\x7fELF\x02\x01"), None);
        assert_eq!(Machine::of(&[0; 20]), None);
    }
}
