//! `dsql-iam import`: what infrastructure code describes, as the documents that a server loads.
//!
//! Policies are tested before they exist. An import is closed as all else is: where a value is not known, a
//! statement lets nobody in and denies as much as it could ([`policy`]), and the summary names it.
//! No import uses the network, and each has bounds: the length of the input, the depth of what is in it, and how
//! much is evaluated.

mod account;
mod cloudformation;
mod documents;
mod facts;
mod input;
mod managed_policies;
mod policy;
mod progress;
mod summary;
mod terraform;
mod value;

#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dsql_iam_core::{ID_LEN, is_account_id};

use super::Report;
use crate::shared::error::Error;
use crate::shared::iam_directory::IamDirectory;
use crate::shared::random;
use account::Account;
use documents::Output;
use facts::Facts;
use input::read;

/// Reads a document of YAML, or of JSON, which is YAML too: numbers and booleans as the text that they are
/// written as.
///
/// # Errors
/// A clause, with the line.
pub fn read_yaml(text: &str) -> Result<serde_json::Value, Error> {
    let value = cloudformation::yaml::read(text)?;
    value.to_json().ok_or_else(|| "it is not a document".into())
}

/// The stack of the thread that imports: references lead deep.
const STACK: usize = 512 * 1024 * 1024;

/// The arguments of `dsql-iam import`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam import terraform --out ./iam --cluster-id abcdefghijklmnopqrstuvwxyz plan.json
  dsql-iam import cloudformation --out ./iam --account-id 012345678912 --region us-east-1 app.template.json")]
pub struct Arguments {
    #[command(subcommand)]
    from: From,
}

/// Where an account comes from.
#[derive(Subcommand)]
enum From {
    /// From the JSON of `terraform show -json`, of a plan or a state; OpenTofu's as well
    #[command(after_help = "\
Example:
  terraform plan -out plan && terraform show -json plan > plan.json
  dsql-iam import terraform --out ./iam --cluster-id abcdefghijklmnopqrstuvwxyz plan.json")]
    Terraform(Terraform),
    /// From templates of CloudFormation, as people, `cdk synth` and `sam build` write them
    #[command(after_help = "\
Example:
  cdk synth --quiet
  dsql-iam import cloudformation --out ./iam --account-id 012345678912 --region us-east-1 cdk.out/App.template.json")]
    Cloudformation(Cloudformation),
}

#[derive(Args)]
struct Terraform {
    /// The JSON; `-` is standard input
    file: PathBuf,

    /// The directory of the configuration, for what a plan does not hold: `jsonencode` around an unknown value
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Take the secrets of access keys that a state holds
    #[arg(long)]
    secrets: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Cloudformation {
    /// The templates, of one stack each, which is named as the file; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// A parameter of the stacks; STACK:KEY=VALUE is one stack's alone
    #[arg(long = "parameter", value_name = "KEY=VALUE")]
    parameters: Vec<String>,

    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// The directory for the documents; it holds none yet. Without it nothing is written
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The account, if the input does not tell
    #[arg(long, value_name = "ID")]
    account_id: Option<String>,

    /// The region, if the input does not tell
    #[arg(long)]
    region: Option<String>,

    /// The id of the cluster, before it exists; of several, ADDRESS=ID each
    #[arg(long = "cluster-id", value_name = "ID")]
    cluster_ids: Vec<String>,

    /// The id of the cluster that the documents are for, if several have a policy
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,

    /// Make an access key up for each user that has none
    #[arg(long)]
    make_keys: bool,

    /// Add the service control policy FullAWSAccess, which AWS attaches by itself
    #[arg(long)]
    full_aws_access: bool,

    /// Exit with 1 if something is unknown or left out
    #[arg(long)]
    strict: bool,
}

/// Imports.
///
/// # Errors
/// A sentence: what cannot be read, or written.
pub fn run(arguments: Arguments) -> Result<Report, Error> {
    // References lead from one to the next, each some calls deeper; a thread has the stack for it.
    let thread = std::thread::Builder::new().stack_size(STACK);
    let thread = thread
        .spawn(move || import(&arguments)?.report())
        .map_err(Error::of)?;
    thread
        .join()
        .map_err(|_| "internal error: the import panicked".to_owned())?
}

/// The imported account, before it is written.
struct Import<'a> {
    common: &'a Common,
    account: Account,
    documents: Vec<Output>,
    way_past: &'static str,
}

fn import(arguments: &Arguments) -> Result<Import<'_>, Error> {
    let (common, way_past) = match &arguments.from {
        From::Terraform(terraform) => (&terraform.common, terraform::WAY_PAST),
        From::Cloudformation(template) => (&template.common, cloudformation::WAY_PAST),
    };
    let facts = facts(common)?;
    let mut account = match &arguments.from {
        From::Terraform(terraform) => {
            let text = read(&terraform.file)?;
            let source = terraform.source.as_deref();
            let named = |fault| format!("{}: {fault}", terraform.file.display());
            terraform::import(&text, source, facts, terraform.secrets).map_err(named)?
        }
        From::Cloudformation(template) => {
            let read_one = |file: &PathBuf| Ok((cloudformation::stack_name(file), read(file)?));
            let texts: Result<Vec<_>, Error> = template.files.iter().map(read_one).collect();
            cloudformation::import(&texts?, &template.parameters, facts)?
        }
    };
    if common.full_aws_access {
        account.add_full_aws_access();
    } else if account.has_service_control() {
        account.summary.leave_out(
            "service control policy FullAWSAccess: AWS attaches it by itself; --full-aws-access adds it",
        );
    }
    if common.make_keys {
        make_keys(&mut account)?;
    }
    let documents = account.documents(common.cluster.as_deref())?;
    Ok(Import {
        common,
        account,
        documents,
        way_past,
    })
}

impl Import<'_> {
    /// Writes the documents, if that is asked for, and tells what was done.
    fn report(&self) -> Result<Report, Error> {
        let summary = &self.account.summary;
        let mut text = summary.text(self.way_past);
        if let Some(directory) = &self.common.out {
            write(directory, &self.documents)?;
            let names: Vec<&str> = self.documents.iter().map(|one| one.name.as_str()).collect();
            let (names, directory) = (names.join(", "), directory.display());
            text.push_str(&format!("\nWrote {names} to {directory}"));
        }
        let is_well = !self.common.strict || summary.is_complete();
        Ok(Report {
            text,
            is_well,
            ..Report::default()
        })
    }
}

fn facts(common: &Common) -> Result<Facts, Error> {
    if let Some(id) = common.account_id.as_deref().filter(|id| !is_account_id(id)) {
        return Err(format!("--account-id: \"{id}\" is not twelve digits").into());
    }
    let is_id = |id: &str| {
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        id.len() == ID_LEN && id.bytes().all(is_fit)
    };
    let ids = common
        .cluster_ids
        .iter()
        .map(|text| text.rsplit('=').next());
    if let Some(id) = ids
        .chain([common.cluster.as_deref()])
        .flatten()
        .find(|id| !is_id(id))
    {
        return Err(
            format!("\"{id}\" is not the id of a cluster: 26 characters of a-z and 0-9").into(),
        );
    }
    let split = |text: &String| match text.rsplit_once('=') {
        Some((address, id)) => (Some(address.to_owned()), id.to_owned()),
        None => (None, text.clone()),
    };
    Ok(Facts {
        account: common.account_id.clone(),
        region: common.region.clone(),
        cluster_ids: common.cluster_ids.iter().map(split).collect(),
    })
}

/// Makes an access key up for each user that has none.
fn make_keys(account: &mut Account) -> Result<(), Error> {
    for user in account.users_without_key() {
        let id = format!("AKIA{}", random::capitals_and_digits(16)?);
        account.add_key(&user, &id, &random::base64(30)?, true);
        account
            .summary
            .fill_in(format!("access key {id} of user {user} (made up)"));
    }
    Ok(())
}

/// Writes the documents into a directory that has none yet: an old one beside them would be loaded too.
fn write(directory: &Path, documents: &[Output]) -> Result<(), Error> {
    let failed =
        |fault: std::io::Error| format!("could not write to {}: {fault}", directory.display());
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.to_string_lossy().ends_with(".json") {
            return Err(format!(
                "{} holds {} already, which would be loaded too; choose an empty directory",
                directory.display(),
                name.to_string_lossy()
            )
            .into());
        }
    }
    let opened = IamDirectory::open(directory)?;
    for document in documents {
        opened.store(&document.name, &format!("{:#}\n", document.json))?;
    }
    Ok(())
}
