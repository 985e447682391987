//! `env.sh`: what a shell needs to know to connect, and the same for programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::settings::quote_conninfo;
use crate::{mirror, run};

/// The values that the variables depend on.
pub struct Environment<'a> {
    /// The TCP port.
    pub port: u16,
    /// The folder of the Unix socket.
    pub sockets: &'a Path,
    /// The certificate authority; nothing if the server cannot do TLS.
    pub authority: Option<&'a Path>,
    /// That one and the system's; nothing if the system's are not known.
    pub bundle: Option<&'a Path>,
    /// The cluster that the server stands for.
    pub cluster: &'a Cluster,
    /// The port of `dsql-iam sts`, if it runs.
    pub sts: Option<u16>,
    /// The folder of the IAM documents.
    pub iam: &'a Path,
    /// The folder of the AWS profiles.
    pub aws: &'a Path,
    /// The folder of the command `dsql-iam`.
    pub command: &'a Path,
    /// The folder of PostgreSQL's programs, psql among them: not every system has one in `PATH`.
    pub programs: &'a Path,
}

impl Environment<'_> {
    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        mirror::write(path, self.render()?.as_bytes(), 0o644)?;
        Ok(())
    }

    fn render(&self) -> Result<String> {
        let Self { port, cluster, .. } = self;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let sockets = quote_conninfo(&self.sockets.to_string_lossy());
        let mut variables = vec![
            ("PGHOST", "localhost".to_owned()),
            ("PGPORT", port.to_string()),
            ("PGDATABASE", "postgres".to_owned()),
            ("PGUSER", "admin".to_owned()),
        ];
        match self.authority {
            Some(authority) => variables.extend([
                ("PGSSLMODE", "verify-full".to_owned()),
                ("PGSSLROOTCERT", text(authority)),
            ]),
            None => variables.push(("PGSSLMODE", "disable".to_owned())),
        }
        // The first replaces the system's authorities, the others come on top of those built in.
        let bundle = self.bundle.map(|bundle| ("SSL_CERT_FILE", text(bundle)));
        variables.extend(bundle);
        if let Some(file) = self.bundle.or(self.authority) {
            let names = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
            variables.extend(names.map(|name| (name, text(file))));
        }
        if let Some(port) = self.sts {
            let url = format!("http://127.0.0.1:{port}");
            variables.push(("AWS_ENDPOINT_URL_STS", url.clone()));
            variables.push(("AWS_ENDPOINT_URL_IAM", url));
        }
        variables.extend([
            ("AWS_CONFIG_FILE", text(&self.aws.join("config"))),
            (
                "AWS_SHARED_CREDENTIALS_FILE",
                text(&self.aws.join("credentials")),
            ),
            ("AWS_REGION", cluster.region.clone()),
            ("DSQL_ENDPOINT", cluster.endpoint()),
            ("DSQL_CLUSTER_ARN", cluster.arn()),
            ("DSQL_IAM_DIRECTORY", text(self.iam)),
            ("DSQL_LOOPBACK_ENDPOINTS", "on".into()),
            (
                "DSQL_SUPERUSER",
                format!("host={sockets} port={port} user=postgres dbname=postgres"),
            ),
        ]);

        let mut file = "# Written by cargo xtask up, to be sourced by a shell.\n".to_owned();
        for (name, value) in variables {
            file.push_str(&format!("export {name}={}\n", shlex::try_quote(&value)?));
        }
        let command = text(self.command);
        let programs = text(self.programs);
        file.push_str(&format!(
            "export PATH={}:\"$PATH\":{}\n",
            shlex::try_quote(&command)?,
            shlex::try_quote(&programs)?
        ));
        Ok(file)
    }
}

/// The variables that a shell has after it sourced the file, and that are not as in this process.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    if !path.exists() {
        bail!("{} is not there", path.display());
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", ". \"$1\" && env -0", "sh"]).arg(path);
    let after = run::output(&mut shell)
        .with_context(|| format!("{} could not be sourced", path.display()))?;
    let variables = after
        .split('\0')
        .filter_map(|variable| variable.split_once('='))
        .filter(|(name, value)| *name != "_" && std::env::var(name).as_deref() != Ok(*value))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_written_is_what_a_shell_reads() {
        let folder = tempfile::tempdir().unwrap();
        let odd = PathBuf::from("/it's \"odd\" $HOME/`x`");
        let path = folder.path().join("env.sh");
        let environment = Environment {
            port: 1234,
            sockets: &odd,
            authority: Some(&odd),
            bundle: Some(&odd),
            cluster: &Cluster::sample(),
            sts: Some(8300),
            iam: &odd,
            aws: &odd,
            command: &odd,
            programs: &odd,
        };
        environment.write(&path).unwrap();
        let variables = read(&path).unwrap();
        assert_eq!(variables["PGSSLROOTCERT"], odd.to_string_lossy());
        assert_eq!(variables["SSL_CERT_FILE"], odd.to_string_lossy());
        for name in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM"] {
            assert_eq!(variables[name], "http://127.0.0.1:8300");
        }
        assert_eq!(
            variables["DSQL_ENDPOINT"],
            "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws"
        );
        assert!(variables["PATH"].starts_with(&*odd.to_string_lossy()));
        assert!(variables["DSQL_SUPERUSER"].starts_with("host='/it\\'s "));
    }
}
