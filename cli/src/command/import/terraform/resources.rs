//! The resources that have a say in a login, put into an account.
//!
//! | resource | becomes |
//! |---|---|
//! | `aws_iam_role`, `aws_iam_user`, `aws_iam_group` | a role, user, group |
//! | `aws_iam_policy`, `…_policy_attachment`, `aws_iam_policy_attachment` | a managed policy, attached |
//! | `aws_iam_role_policy`, `aws_iam_user_policy`, `aws_iam_group_policy` | an inline policy |
//! | `aws_iam_user_group_membership`, `aws_iam_group_membership` | who is in a group |
//! | `aws_iam_access_key` | a key, if secrets are asked for |
//! | `aws_dsql_cluster`, `aws_dsql_cluster_policy` | the cluster's tags, and its policy |
//! | `aws_organizations_policy` | a service control policy |

use super::follows::CLUSTER;
use super::resolve::Program;
use crate::command::import::account::{Account, Kind, Traits};
use crate::command::import::value::Value;
use crate::shared::error::Error;

/// Types of resources that have none, although their names begin as those do that have.
const OF_NO_CONSEQUENCE: [&str; 13] = [
    "aws_iam_instance_profile",
    "aws_iam_openid_connect_provider",
    "aws_iam_saml_provider",
    "aws_iam_account_alias",
    "aws_iam_account_password_policy",
    "aws_iam_user_login_profile",
    "aws_iam_user_ssh_key",
    "aws_iam_virtual_mfa_device",
    "aws_iam_server_certificate",
    "aws_iam_signing_certificate",
    "aws_iam_service_specific_credential",
    "aws_dsql_cluster_peering",
    "aws_organizations_policy_attachment",
];

impl Program {
    /// Puts all resources into the account: first what policies can be attached to.
    ///
    /// # Errors
    /// A sentence, with the address of the resource.
    pub fn account(&mut self, account: &mut Account, secrets: bool) -> Result<(), Error> {
        let managed: Vec<usize> = (0..self.plan.instances.len())
            .filter(|index| !self.plan.instances[*index].is_data)
            .collect();
        for index in &managed {
            self.entity(*index, account)?;
        }
        for index in &managed {
            self.rest(*index, account, secrets)?;
        }
        for line in self.filled_in.drain(..) {
            account.summary.fill_in(line);
        }
        Ok(())
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        Some(match self.plan.instances[index].resource_type.as_str() {
            "aws_iam_role" => Kind::Role,
            "aws_iam_user" => Kind::User,
            "aws_iam_group" => Kind::Group,
            _ => return None,
        })
    }

    fn entity(&mut self, index: usize, account: &mut Account) -> Result<(), Error> {
        let Some(kind) = self.kind(index) else {
            return Ok(());
        };
        let address = self.plan.instances[index].address.clone();
        account
            .summary
            .read(&self.plan.instances[index].resource_type.clone());
        let name = self.attribute(index, "name")?;
        let path = self.attribute(index, "path")?;
        let path = if path == Value::Null {
            Some("/".into())
        } else {
            path.as_text()
        };
        let (Some(name), Some(path)) = (name.as_text(), path) else {
            account.summary.unknown(format!(
                "{address}: its name or path is unknown: it is left out"
            ));
            return Ok(());
        };
        let tags = self.tags(index)?;
        let trust = match kind {
            Kind::Role => self.document(index, "assume_role_policy")?,
            _ => Value::Null,
        };
        let traits = Traits {
            name: &name,
            path: &path,
            tags,
            boundary: self.attribute(index, "permissions_boundary")?,
            trust,
            max_session_duration: self.attribute(index, "max_session_duration")?,
            place: &address,
        };
        account.add(kind, traits)
    }

    /// A policy document. One that is neither JSON nor made of statements is the text that it is made from, and
    /// so unknown.
    fn document(&mut self, index: usize, attribute: &str) -> Result<Value, Error> {
        let value = self.attribute(index, attribute)?;
        Ok(match value {
            Value::Text(text) if !text.trim_start().starts_with('{') => {
                let address = &self.plan.instances[index].address;
                self.filled_in
                    .retain(|line| !line.starts_with(&format!("{address}.{attribute}:")));
                Value::unknown(format!(
                    "{address}.{attribute}, an expression around {text}"
                ))
            }
            value => value,
        })
    }

    fn rest(&mut self, index: usize, account: &mut Account, secrets: bool) -> Result<(), Error> {
        let instance = &self.plan.instances[index];
        let (address, resource_type) = (instance.address.clone(), instance.resource_type.clone());
        let place = address.as_str();
        match resource_type.as_str() {
            "aws_iam_role" | "aws_iam_user" | "aws_iam_group" => {
                return self.own_policies(index, account);
            }
            "aws_iam_policy" => {
                let arn = self.attribute(index, "arn")?;
                let document = self.document(index, "policy")?;
                match arn.as_text() {
                    Some(arn) => account.add_policy(&arn, &document, place)?,
                    None => account
                        .summary
                        .leave_out(format!("{place}: its ARN is unknown")),
                }
            }
            "aws_iam_role_policy" | "aws_iam_user_policy" | "aws_iam_group_policy" => {
                let kind = kind_in(&resource_type);
                let target = self.attribute(index, kind.word())?;
                let name = self.attribute(index, "name")?;
                let document = self.document(index, "policy")?;
                account.inline(kind, &target, (&name, &document), place)?;
            }
            "aws_iam_role_policy_attachment"
            | "aws_iam_user_policy_attachment"
            | "aws_iam_group_policy_attachment" => {
                let kind = kind_in(&resource_type);
                let target = self.attribute(index, kind.word())?;
                let arn = self.attribute(index, "policy_arn")?;
                account.attach(kind, &target, &arn, place);
            }
            "aws_iam_policy_attachment" => {
                let arn = self.attribute(index, "policy_arn")?;
                for kind in [Kind::User, Kind::Group, Kind::Role] {
                    let targets = self.attribute(index, &format!("{}s", kind.word()))?;
                    account.attach(kind, &targets, &arn, place);
                }
            }
            "aws_iam_user_group_membership" => {
                let user = self.attribute(index, "user")?;
                let groups = self.attribute(index, "groups")?;
                account.join(&user, &groups, place);
            }
            "aws_iam_group_membership" => {
                let users = self.attribute(index, "users")?;
                let group = self.attribute(index, "group")?;
                account.join(&users, &group, place);
            }
            "aws_iam_access_key" => self.access_key(index, account, secrets)?,
            CLUSTER => self.cluster_document(index, account)?,
            "aws_dsql_cluster_policy" => {
                let cluster = self.attribute(index, "identifier")?.as_text();
                let document = self.document(index, "policy")?;
                account.add_cluster_policy(cluster, &document, place)?;
            }
            "aws_organizations_policy" => self.organizations_policy(index, account)?,
            other if OF_NO_CONSEQUENCE.contains(&other) => return Ok(()),
            other => {
                let prefixes = ["aws_iam_", "aws_dsql_"];
                account.summary.not_understood(place, other, &prefixes);
                return Ok(());
            }
        }
        account.summary.read(&resource_type);
        Ok(())
    }

    /// The policies written into a role itself. A plan shows there those attached now, too, which may be about to
    /// change: only what the configuration writes there counts.
    fn own_policies(&mut self, index: usize, account: &mut Account) -> Result<(), Error> {
        let Some(kind) = self.kind(index) else {
            return Ok(());
        };
        let address = self.plan.instances[index].address.clone();
        let name = self.attribute(index, "name")?;
        if !name.is_known() {
            return Ok(());
        }
        if self.is_written(index, "managed_policy_arns") {
            let arns = self.attribute(index, "managed_policy_arns")?;
            account.attach(
                kind,
                &name,
                &arns,
                &format!("{address}.managed_policy_arns"),
            );
        }
        if !self.is_written(index, "inline_policy") {
            return Ok(());
        }
        for (number, block) in self
            .attribute(index, "inline_policy")?
            .elements()
            .iter()
            .enumerate()
        {
            let place = format!("{address}.inline_policy[{number}]");
            let (own, document) = match block {
                Value::Object(members) => (
                    members.get("name").cloned().unwrap_or(Value::Null),
                    members.get("policy").cloned().unwrap_or(Value::Null),
                ),
                unknown => (Value::text(&*place), unknown.clone()),
            };
            let document = match document {
                // A block without a policy is how Terraform says that there is none.
                Value::Null => continue,
                Value::Text(text) if !text.trim_start().starts_with('{') => {
                    Value::unknown(format!("{place}.policy, an expression around {text}"))
                }
                document => document,
            };
            account.inline(kind, &name, (&own, &document), &place)?;
        }
        Ok(())
    }

    fn is_written(&self, index: usize, attribute: &str) -> bool {
        match self.expressions(index) {
            Some(expressions) => expressions.get(attribute).is_some(),
            None => true,
        }
    }

    fn access_key(
        &mut self,
        index: usize,
        account: &mut Account,
        secrets: bool,
    ) -> Result<(), Error> {
        let address = self.plan.instances[index].address.clone();
        let mut text = |attribute: &str| {
            self.attribute(index, attribute)
                .map(|value| value.as_text())
        };
        let (user, id, secret) = (text("user")?, text("id")?, text("secret")?);
        let is_active = text("status")?.is_none_or(|status| status == "Active");
        match (secrets, user, id, secret) {
            (true, Some(user), Some(id), Some(secret)) => {
                account.add_key(&user, &id, &secret, is_active)
            }
            (false, _, Some(_), Some(_)) => account.summary.leave_out(format!(
                "{address}: its secret is taken with --secrets only; --make-keys makes another up"
            )),
            _ => account.summary.leave_out(format!(
                "{address}: its secret is not in the input; --make-keys makes one up"
            )),
        }
        Ok(())
    }

    fn cluster_document(&mut self, index: usize, account: &mut Account) -> Result<(), Error> {
        let address = self.plan.instances[index].address.clone();
        let id = self.attribute(index, "identifier")?.as_text();
        let tags = self.tags(index)?;
        let region = self.region_of(index);
        account.add_cluster(id.as_deref(), region.as_deref(), &tags, &address)
    }

    fn organizations_policy(&mut self, index: usize, account: &mut Account) -> Result<(), Error> {
        let address = self.plan.instances[index].address.clone();
        let name = self.plan.instances[index].name.clone();
        let policy_type = match self.attribute(index, "type")? {
            Value::Null => Some("SERVICE_CONTROL_POLICY".to_owned()),
            policy_type => policy_type.as_text(),
        };
        match policy_type.as_deref() {
            Some("SERVICE_CONTROL_POLICY") => {
                let document = self.document(index, "content")?;
                account.add_service_control(&name, &document, &address)
            }
            Some(other @ ("RESOURCE_CONTROL_POLICY" | "DECLARATIVE_POLICY_EC2"))
                if other.starts_with("RES") =>
            {
                account.refuse_everybody(&format!("{address} (resource control policies)"));
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                account.refuse_everybody(&format!("{address}: its type"));
                Ok(())
            }
        }
    }
}

fn kind_in(resource_type: &str) -> Kind {
    match resource_type {
        other if other.starts_with("aws_iam_role") => Kind::Role,
        other if other.starts_with("aws_iam_user") => Kind::User,
        _ => Kind::Group,
    }
}
