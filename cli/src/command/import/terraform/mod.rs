//! `dsql-iam import terraform`: a plan or a state of Terraform or OpenTofu, as documents.
//!
//! | part | holds |
//! |---|---|
//! | `plan` | the JSON of `terraform show -json` |
//! | `resources` | which resources become what |
//! | `resolve` | the value of an attribute, and where references lead |
//! | `follows` | what follows from other values |
//! | `references` | the expressions of a plan's configuration |
//! | `hcl`, `expression`, `functions` | those of the source |

mod address;
mod expression;
mod follows;
mod functions;
mod hcl;
mod plan;
mod references;
mod resolve;
mod resources;

use std::path::Path;

use dsql_iam_core::is_account_id;

use super::account::Account;
use super::facts::{Facts, NO_ACCOUNT};
use super::value::{Value, from_json};
use plan::Plan;
use resolve::Program;

use crate::shared::error::Error;

/// How the values that are unknown can be had.
pub const WAY_PAST: &str =
    "give --cluster-id or --source, or import a state, or a plan made once the cluster exists";

/// Makes an account of a plan or a state. `source` is the directory of the configuration.
///
/// # Errors
/// A sentence: what cannot be read, and where.
pub fn import(
    text: &str,
    source: Option<&Path>,
    mut facts: Facts,
    secrets: bool,
) -> Result<Account, Error> {
    let json = from_json(text).map_err(Error::of)?;
    let plan = plan::read(&json)?;
    let source = source.map(hcl::Source::read).transpose()?;
    facts.region = region(&plan, facts.region);
    let id = account_id(&plan, facts.account.as_deref())?;
    let mut account = Account::new(&id, facts.region.as_deref());
    let mut program = Program::new(plan, source, facts);
    program.account = id;
    program.account(&mut account, secrets)?;
    Ok(account)
}

/// The value of an attribute of the first instance of this type that has one.
fn first(plan: &Plan, is_data: bool, resource_type: &str, attributes: &[&str]) -> Option<String> {
    let instances = plan.instances.iter();
    let mut instances =
        instances.filter(|one| one.is_data == is_data && one.resource_type == resource_type);
    instances.find_map(|one| {
        let mut attributes = attributes.iter();
        attributes.find_map(|name| one.values.get(name).and_then(Value::as_text))
    })
}

/// The account of the plan: what it says itself, or what the command was told.
fn account_id(plan: &Plan, told: Option<&str>) -> Result<String, Error> {
    let said = first(plan, true, "aws_caller_identity", &["account_id", "id"]);
    let in_arn = || {
        let types = [
            "aws_iam_role",
            "aws_iam_user",
            "aws_iam_group",
            "aws_iam_policy",
            follows::CLUSTER,
        ];
        types.iter().find_map(|resource_type| {
            let arn = first(plan, false, resource_type, &["arn"])?;
            Some(arn.split(':').nth(4)?.to_owned())
        })
    };
    let said = said.or_else(in_arn).filter(|id| is_account_id(id));
    match (told, said) {
        (Some(told), Some(said)) if told != said => {
            Err(format!("the input is of account {said}, and --account-id is {told}").into())
        }
        (Some(told), _) => Ok(told.to_owned()),
        (None, Some(said)) => Ok(said),
        (None, None) => Err(NO_ACCOUNT.into()),
    }
}

/// The region: what the command was told, or what the plan says.
fn region(plan: &Plan, told: Option<String>) -> Option<String> {
    let of_data = || first(plan, true, "aws_region", &["region", "name", "id"]);
    let of_cluster = || {
        let arn = first(plan, false, follows::CLUSTER, &["arn"])?;
        arn.split(':').nth(3).map(str::to_owned)
    };
    let of_provider = || {
        let providers = plan.configuration.as_ref()?.get("provider_config")?;
        let region = providers.get("aws")?.get("expressions")?.get("region")?;
        if let Some(constant) = region.get("constant_value") {
            return constant.as_text();
        }
        let reference = region.get("references")?.elements().first()?.as_text()?;
        plan.variables
            .get(reference.strip_prefix("var.")?)?
            .as_text()
    };
    told.or_else(of_data)
        .or_else(of_cluster)
        .or_else(of_provider)
}
