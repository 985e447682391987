//! The user whom the server runs as. PostgreSQL refuses to run as root, and should: so root hands it over.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

use crate::run;

/// The operating system's user that owns the data and runs the server.
#[derive(Debug)]
pub struct Account {
    /// The user's name.
    pub name: String,
    /// The name of the user who typed the command.
    pub invoker: String,
    /// User and group id to switch to; nothing if the server runs as whoever typed the command.
    switch_to: Option<(u32, u32)>,
}

impl Account {
    /// The invoking user; for root `postgres`, which Debian's packages create, else a user made for
    /// this.
    pub fn find() -> Result<Self> {
        let invoker = User::from_uid(geteuid())?
            .map(|user| user.name)
            .context("the user who runs this has no name")?;
        if !geteuid().is_root() {
            return Ok(Self {
                name: invoker.clone(),
                invoker,
                switch_to: None,
            });
        }
        let user = match existing_user()? {
            Some(user) => user,
            None => {
                run::run(Command::new("useradd").args(["--system", "dsql-iam"]))
                    .context("the server needs a user other than root to run as")?;
                existing_user()?.context("useradd did not create the user dsql-iam")?
            }
        };
        Ok(Self {
            name: user.name,
            invoker,
            switch_to: Some((user.uid.as_raw(), user.gid.as_raw())),
        })
    }

    /// The user of this process, root included: for tests of what writes files.
    #[cfg(test)]
    pub fn of_this_process() -> Self {
        Self {
            name: "test".into(),
            invoker: "test".into(),
            switch_to: None,
        }
    }

    /// Whether the server runs as another user than the one who typed the command.
    pub fn is_other(&self) -> bool {
        self.switch_to.is_some()
    }

    /// A command that runs as the server's user, with none of the `PG…` variables that a sourced
    /// `env.sh` leaves in the environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = without_pg_variables(program);
        if let Some((uid, gid)) = self.switch_to {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Creates a folder of the server's user, if it is not there, and sets its mode.
    pub fn directory(&self, path: &Path, mode: u32) -> Result<()> {
        fs::create_dir_all(path)
            .with_context(|| format!("{} could not be created", path.display()))?;
        self.own(path, mode)
    }

    /// Hands a file or folder over to the server's user, and sets its mode.
    pub fn own(&self, path: &Path, mode: u32) -> Result<()> {
        let hand_over = || {
            if let Some((uid, gid)) = self.switch_to {
                chown(path, Some(uid), Some(gid))?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        };
        hand_over().with_context(|| {
            let path = path.display();
            format!("{path} could not be handed over to the user {}", self.name)
        })
    }

    /// Whether the server's user can enter a folder: each folder above has to let it through.
    pub fn can_enter(&self, path: &Path) -> bool {
        let mut test = self.command("test");
        run::succeeds(test.arg("-x").arg(path).current_dir("/"))
    }
}

/// A command that sees none of the `PG…` variables, which would steer PostgreSQL's programs.
pub fn without_pg_variables(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
}

fn existing_user() -> Result<Option<User>> {
    for name in ["postgres", "dsql-iam"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}
