//! The resources that have a say in a login, put into an account, and what `Ref` and `Fn::GetAtt` give of them.
//!
//! | resource | becomes |
//! |---|---|
//! | `AWS::IAM::Role`, `User`, `Group` | a role, user, group, with the policies in it |
//! | `AWS::IAM::ManagedPolicy` | a managed policy, attached |
//! | `AWS::IAM::Policy`, `RolePolicy`, `UserPolicy`, `GroupPolicy` | an inline policy |
//! | `AWS::IAM::UserToGroupAddition` | who is in a group |
//! | `AWS::DSQL::Cluster` | the cluster's tags, and its policy |
//! | `AWS::Organizations::Policy` | a service control policy |
//! | `AWS::Serverless::Function`, `StateMachine` | the role that SAM makes: `sam` |

use data_encoding::HEXLOWER;
use dsql_iam_core::SERVICE;
use sha2::{Digest, Sha256};

use super::intrinsics::{Stacks, is_no_value};
use super::stack::{Resource, Stack};
use crate::command::import::account::{Account, Kind, Traits, arn, partition};
use crate::command::import::value::Value;
use crate::shared::error::Error;

/// The longest name of a user or role, and of a group or policy.
const MAX_NAME: usize = 64;
const MAX_LONG_NAME: usize = 128;
/// The type of a cluster.
const CLUSTER: &str = "AWS::DSQL::Cluster";

/// Types of resources that have no say in a login, although their names begin as those do that have.
const OF_NO_CONSEQUENCE: [&str; 7] = [
    "AWS::IAM::AccessKey",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::OIDCProvider",
    "AWS::IAM::SAMLProvider",
    "AWS::IAM::ServerCertificate",
    "AWS::IAM::ServiceLinkedRole",
    "AWS::IAM::VirtualMFADevice",
];

/// Whether a resource will be there.
#[derive(Clone, Copy, PartialEq)]
enum Presence {
    There,
    Perhaps,
    Absent,
}

impl Stacks {
    /// A property of a resource, null if it has none.
    fn property(&mut self, resource: &Resource, name: &str, of: usize) -> Result<Value, Error> {
        let Some(property) = resource.properties.get(name) else {
            return Ok(Value::Null);
        };
        let property = property.clone();
        let value = self.evaluate(&property, of)?;
        Ok(if is_no_value(&value) {
            Value::Null
        } else {
            value
        })
    }

    /// The name of a resource: that of the property, or the one that CloudFormation would make up, without the
    /// random end.
    fn name(&mut self, resource: &Resource, of: usize) -> Result<Value, Error> {
        let (property, most) = match resource.resource_type.as_str() {
            "AWS::IAM::Role" => ("RoleName", MAX_NAME),
            "AWS::IAM::User" => ("UserName", MAX_NAME),
            "AWS::IAM::Group" => ("GroupName", MAX_LONG_NAME),
            _ => ("ManagedPolicyName", MAX_LONG_NAME),
        };
        let given = self.property(resource, property, of)?;
        if given != Value::Null {
            return Ok(given);
        }
        let mut name = format!("{}-{}", self.stacks[of].name, resource.id);
        if name.len() > most {
            let hash = HEXLOWER.encode(&Sha256::digest(&name)[..4]);
            let kept: String = name.chars().take(most - hash.len() - 1).collect();
            name = format!("{kept}-{hash}");
        }
        self.filled_in
            .push(format!("{}: name {name} (made up)", resource.id));
        Ok(Value::Text(name))
    }

    /// The ARN of a user, group, role or managed policy.
    fn arn(&mut self, resource: &Resource, kind: &str, of: usize) -> Result<Value, Error> {
        let name = self.name(resource, of)?;
        let path = match self.property(resource, "Path", of)? {
            Value::Null => Value::text("/"),
            path => path,
        };
        let (Some(text), Some(path)) = (name.as_text(), path.as_text()) else {
            return Ok(if name.is_known() { path } else { name });
        };
        let partition = partition(self.facts.region.as_deref());
        Ok(Value::Text(arn(
            partition,
            &self.account,
            kind,
            &path,
            &text,
        )))
    }

    /// The value of `Ref` of a resource.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn resource_ref(&mut self, id: &str, of: usize) -> Result<Value, Error> {
        if let Some(given) = self.stacks[of].given_by_parent(id) {
            let (parent, value) = (given.0, given.1.clone());
            return self.evaluate(&value, parent);
        }
        let unknown = || Value::unknown(id);
        let Some(resource) = self.stacks[of].resource(id) else {
            return Ok(unknown());
        };
        Ok(match resource.resource_type.as_str() {
            "AWS::IAM::Role" | "AWS::IAM::User" | "AWS::IAM::Group" => self.name(&resource, of)?,
            "AWS::IAM::ManagedPolicy" => self.arn(&resource, "policy", of)?,
            "AWS::IAM::OIDCProvider" => self.provider(&resource, of)?,
            CLUSTER => self.cluster_id(id, of).map_or_else(unknown, Value::Text),
            _ => unknown(),
        })
    }

    /// The value of `Fn::GetAtt` of a resource.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn resource_attribute(
        &mut self,
        id: &str,
        attribute: &str,
        of: usize,
    ) -> Result<Value, Error> {
        let unknown = || Value::unknown(format!("{id}.{attribute}"));
        let Some(resource) = self.stacks[of].resource(id) else {
            return Ok(unknown());
        };
        Ok(match (resource.resource_type.as_str(), attribute) {
            ("AWS::IAM::Role", "Arn") => self.arn(&resource, "role", of)?,
            ("AWS::IAM::User", "Arn") => self.arn(&resource, "user", of)?,
            ("AWS::IAM::Group", "Arn") => self.arn(&resource, "group", of)?,
            ("AWS::IAM::ManagedPolicy", "PolicyArn") => self.arn(&resource, "policy", of)?,
            ("AWS::IAM::OIDCProvider", "Arn") => self.provider(&resource, of)?,
            (CLUSTER, "Identifier") => self.cluster_id(id, of).map_or_else(unknown, Value::Text),
            (CLUSTER, "ResourceArn") => {
                let (id, region) = (self.cluster_id(id, of), self.facts.region.clone());
                let (Some(id), Some(region)) = (id, region) else {
                    return Ok(unknown());
                };
                let (partition, account) = (partition(Some(&region)), &self.account);
                Value::Text(format!(
                    "arn:{partition}:{SERVICE}:{region}:{account}:cluster/{id}"
                ))
            }
            (CLUSTER, "Endpoint") => {
                let (id, region) = (self.cluster_id(id, of), self.facts.region.clone());
                let endpoint = id.zip(region);
                endpoint.map_or_else(unknown, |(id, region)| {
                    Value::Text(format!("{id}.{SERVICE}.{region}.on.aws"))
                })
            }
            ("AWS::CloudFormation::Stack", attribute) => {
                let output = attribute.strip_prefix("Outputs.");
                let nested = self
                    .stacks
                    .iter()
                    .position(|stack| stack.is_nested_as(of, id));
                match output.zip(nested) {
                    Some((output, nested)) => {
                        let value = self.stacks[nested].member("Outputs", output);
                        match value.and_then(|output| output.get("Value")).cloned() {
                            Some(value) => self.evaluate(&value, nested)?,
                            None => unknown(),
                        }
                    }
                    None => unknown(),
                }
            }
            _ => unknown(),
        })
    }

    fn provider(&mut self, resource: &Resource, of: usize) -> Result<Value, Error> {
        let url = self.property(resource, "Url", of)?;
        let Some(url) = url.as_text() else {
            return Ok(url);
        };
        let (partition, account) = (partition(self.facts.region.as_deref()), &self.account);
        let host = url.trim_start_matches("https://");
        Ok(Value::Text(format!(
            "arn:{partition}:iam::{account}:oidc-provider/{host}"
        )))
    }

    /// The id of a cluster, as the command was told: for `ID`, for `STACK.ID`, or for the only one.
    fn cluster_id(&mut self, id: &str, of: usize) -> Option<String> {
        let all = self.stacks.iter().flat_map(Stack::resources);
        let count = all
            .filter(|resource| resource.resource_type == CLUSTER)
            .count();
        let long = format!("{}.{id}", self.stacks[of].name);
        let told = self
            .facts
            .cluster_id(&long, count)
            .or_else(|| self.facts.cluster_id(id, count));
        let told = told?.to_owned();
        self.filled_in.push(format!("{long}: id {told}"));
        Some(told)
    }

    fn presence(&mut self, resource: &Resource, of: usize) -> Result<Presence, Error> {
        let Some(name) = &resource.condition else {
            return Ok(Presence::There);
        };
        Ok(match self.condition(name, of)? {
            Ok(true) => Presence::There,
            Ok(false) => Presence::Absent,
            Err(_) => Presence::Perhaps,
        })
    }

    /// Puts all resources into the account: first what policies can be attached to.
    ///
    /// # Errors
    /// A sentence, with the stack and the resource.
    pub fn put(&mut self, account: &mut Account) -> Result<(), Error> {
        for pass in [Self::entity, Self::rest] {
            for of in 0..self.stacks.len() {
                for resource in self.stacks[of].resources() {
                    let name = format!("{}.{}", self.stacks[of].name, resource.id);
                    pass(self, &resource, of, account).map_err(|fault| {
                        match fault.to_string().contains(&name) {
                            true => fault,
                            false => Error::of(format_args!("{name}: {fault}")),
                        }
                    })?;
                }
            }
        }
        for line in self.filled_in.drain(..) {
            account.summary.fill_in(line);
        }
        Ok(())
    }

    fn entity(
        &mut self,
        resource: &Resource,
        of: usize,
        account: &mut Account,
    ) -> Result<(), Error> {
        let Some(kind) = kind(&resource.resource_type) else {
            return Ok(());
        };
        let place = format!("{}.{}", self.stacks[of].name, resource.id);
        let presence = self.presence(resource, of)?;
        if presence == Presence::Absent {
            return Ok(());
        }
        account.summary.read(&resource.resource_type);
        let name = self.name(resource, of)?;
        let path = match self.property(resource, "Path", of)? {
            Value::Null => Value::text("/"),
            path => path,
        };
        let (Presence::There, Some(name), Some(path)) = (presence, name.as_text(), path.as_text())
        else {
            let line = format!("{place}: its name, path or condition is unknown: it is left out");
            account.summary.unknown(line);
            return Ok(());
        };
        let trust = match kind {
            Kind::Role => self.property(resource, "AssumeRolePolicyDocument", of)?,
            _ => Value::Null,
        };
        let tags = self.property(resource, "Tags", of)?;
        account.add(
            kind,
            Traits {
                name: &name,
                path: &path,
                tags: tags_of(&tags),
                boundary: self.property(resource, "PermissionsBoundary", of)?,
                trust,
                max_session_duration: self.property(resource, "MaxSessionDuration", of)?,
                place: &place,
            },
        )
    }

    fn rest(&mut self, resource: &Resource, of: usize, account: &mut Account) -> Result<(), Error> {
        let place = format!("{}.{}", self.stacks[of].name, resource.id);
        let presence = self.presence(resource, of)?;
        if presence == Presence::Absent {
            return Ok(());
        }
        let is_certain = presence == Presence::There;
        let resource_type = resource.resource_type.as_str();
        if let Some(kind) = kind(resource_type) {
            return match is_certain {
                true => self.own_policies(resource, kind, of, account),
                false => Ok(()),
            };
        }
        match resource_type {
            "AWS::IAM::ManagedPolicy" => {
                let arn = self.arn(resource, "policy", of)?;
                let document = self.policy(resource, is_certain, of)?;
                match arn.as_text() {
                    Some(arn) => account.add_policy(&arn, &document, &place)?,
                    None => account
                        .summary
                        .leave_out(format!("{place}: its name is unknown")),
                }
                for (kind, property) in ATTACHED_TO {
                    let targets = self.property(resource, property, of)?;
                    account.attach(kind, &targets, &arn, &place);
                }
            }
            "AWS::IAM::Policy" => {
                let document = self.policy(resource, is_certain, of)?;
                let name = self.property(resource, "PolicyName", of)?;
                for (kind, property) in ATTACHED_TO {
                    let targets = self.property(resource, property, of)?;
                    account.inline(kind, &targets, (&name, &document), &place)?;
                }
            }
            "AWS::IAM::RolePolicy" | "AWS::IAM::UserPolicy" | "AWS::IAM::GroupPolicy" => {
                let document = self.policy(resource, is_certain, of)?;
                let name = self.property(resource, "PolicyName", of)?;
                let (kind, property) = match resource_type {
                    "AWS::IAM::RolePolicy" => (Kind::Role, "RoleName"),
                    "AWS::IAM::UserPolicy" => (Kind::User, "UserName"),
                    _ => (Kind::Group, "GroupName"),
                };
                let target = self.property(resource, property, of)?;
                account.inline(kind, &target, (&name, &document), &place)?;
            }
            "AWS::IAM::UserToGroupAddition" => {
                let users = self.property(resource, "Users", of)?;
                let group = match is_certain {
                    true => self.property(resource, "GroupName", of)?,
                    false => Value::unknown(format!("the condition of {place}")),
                };
                account.join(&users, &group, &place);
            }
            CLUSTER => self.cluster(resource, is_certain, of, account)?,
            "AWS::Organizations::Policy" => {
                self.organizations_policy(resource, is_certain, of, account)?
            }
            other if OF_NO_CONSEQUENCE.contains(&other) => return Ok(()),
            "AWS::CloudFormation::Stack" | "AWS::Serverless::Application" => {
                if !self
                    .stacks
                    .iter()
                    .any(|stack| stack.is_nested_as(of, &resource.id))
                {
                    account.summary.leave_out(format!(
                        "{place}: the nested stack's template was not given"
                    ));
                }
                return Ok(());
            }
            "AWS::Serverless::Connector" => {
                account
                    .summary
                    .leave_out(format!("{place}: a connector; it allows nothing of DSQL"));
                return Ok(());
            }
            other => {
                let prefixes = ["AWS::IAM::", "AWS::DSQL::"];
                account.summary.not_understood(&place, other, &prefixes);
                return Ok(());
            }
        }
        account.summary.read(resource_type);
        Ok(())
    }

    /// The policy document of a resource; of one that may not be there, what it denies.
    fn policy(&mut self, resource: &Resource, is_certain: bool, of: usize) -> Result<Value, Error> {
        let document = self.property(resource, "PolicyDocument", of)?;
        Ok(if is_certain {
            document
        } else {
            denials(document)
        })
    }

    /// The policies that are written into a role, user or group, and the groups of a user.
    fn own_policies(
        &mut self,
        resource: &Resource,
        kind: Kind,
        of: usize,
        account: &mut Account,
    ) -> Result<(), Error> {
        let place = format!("{}.{}", self.stacks[of].name, resource.id);
        let name = self.name(resource, of)?;
        if !name.is_known() {
            return Ok(());
        }
        let arns = self.property(resource, "ManagedPolicyArns", of)?;
        account.attach(kind, &name, &arns, &format!("{place}.ManagedPolicyArns"));
        for (number, policy) in self
            .property(resource, "Policies", of)?
            .elements()
            .iter()
            .enumerate()
        {
            let place = format!("{place}.Policies[{number}]");
            let (own, document) = match policy {
                Value::Object(members) => (
                    members.get("PolicyName").cloned().unwrap_or(Value::Null),
                    members
                        .get("PolicyDocument")
                        .cloned()
                        .unwrap_or(Value::Null),
                ),
                other => (Value::Null, other.clone()),
            };
            account.inline(kind, &name, (&own, &document), &place)?;
        }
        if kind == Kind::User {
            let groups = self.property(resource, "Groups", of)?;
            account.join(&name, &groups, &format!("{place}.Groups"));
        }
        Ok(())
    }

    fn cluster(
        &mut self,
        resource: &Resource,
        is_certain: bool,
        of: usize,
        account: &mut Account,
    ) -> Result<(), Error> {
        let place = format!("{}.{}", self.stacks[of].name, resource.id);
        let id = self.cluster_id(&resource.id, of);
        let tags = self.property(resource, "Tags", of)?;
        let region = self.facts.region.clone();
        account.add_cluster(id.as_deref(), region.as_deref(), &tags_of(&tags), &place)?;
        let document = self.policy(resource, is_certain, of)?;
        if document != Value::Null {
            account.add_cluster_policy(id, &document, &format!("{place}.PolicyDocument"))?;
        }
        Ok(())
    }

    fn organizations_policy(
        &mut self,
        resource: &Resource,
        is_certain: bool,
        of: usize,
        account: &mut Account,
    ) -> Result<(), Error> {
        let place = format!("{}.{}", self.stacks[of].name, resource.id);
        let content = self.property(resource, "Content", of)?;
        let content = if is_certain {
            content
        } else {
            denials(content)
        };
        match self.property(resource, "Type", of)?.as_text().as_deref() {
            Some("SERVICE_CONTROL_POLICY") => {
                account.add_service_control(&resource.id, &content, &place)
            }
            Some("RESOURCE_CONTROL_POLICY") => {
                account.refuse_everybody(&format!("{place} (resource control policies)"));
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                account.refuse_everybody(&format!("{place}: its Type"));
                Ok(())
            }
        }
    }
}

/// The kind of principal that a policy is attached to, by the property that lists it.
const ATTACHED_TO: [(Kind, &str); 3] = [
    (Kind::Role, "Roles"),
    (Kind::User, "Users"),
    (Kind::Group, "Groups"),
];

fn kind(resource_type: &str) -> Option<Kind> {
    Some(match resource_type {
        "AWS::IAM::Role" => Kind::Role,
        "AWS::IAM::User" => Kind::User,
        "AWS::IAM::Group" => Kind::Group,
        _ => return None,
    })
}

/// Tags as an object: CloudFormation has a list of keys and values.
fn tags_of(tags: &Value) -> Value {
    if let Value::Object(_) = tags {
        return tags.clone();
    }
    let mut members = Vec::new();
    for tag in tags.elements() {
        match (tag.get("Key").and_then(Value::as_text), tag.get("Value")) {
            (Some(key), Some(value)) => members.push((key, value.clone())),
            (Some(key), None) => members.push((key, Value::text(""))),
            (None, _) => {
                let name = tag
                    .first_unknown()
                    .map_or("a tag without a key", |name| name);
                return Value::unknown(name);
            }
        }
    }
    Value::object(members)
}

/// A document with its Allow statements taken out.
fn denials(document: Value) -> Value {
    let Value::Object(mut members) = document else {
        return match document {
            Value::Text(text) => match crate::command::import::value::from_json(&text) {
                Ok(value @ Value::Object(_)) => denials(value),
                _ => Value::Text(text),
            },
            other => other,
        };
    };
    if let Some(statements) = members.get_mut("Statement") {
        let list = statements.elements().iter();
        let list = list.filter(|statement| statement.get("Effect") != Some(&Value::text("Allow")));
        *statements = Value::List(list.cloned().collect());
    }
    Value::Object(members)
}
