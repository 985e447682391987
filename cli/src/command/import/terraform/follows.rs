//! Attributes that follow from others: an ARN from account, path and name, a cluster from what the command was
//! told, a policy document from its statements.

use std::collections::BTreeMap;

use dsql_iam_core::SERVICE;

use super::resolve::Program;
use crate::command::import::account::{arn, partition};
use crate::command::import::value::{Value, from_json};
use crate::shared::error::Error;

/// The type of a cluster.
pub const CLUSTER: &str = "aws_dsql_cluster";

impl Program {
    /// The attribute, if it follows from others.
    ///
    /// # Errors
    /// Those of [`attribute`](Self::attribute).
    pub fn follows(&mut self, index: usize, attribute: &str) -> Result<Option<Value>, Error> {
        let instance = &self.plan.instances[index];
        let (is_data, resource_type) = (instance.is_data, instance.resource_type.clone());
        let region = self.facts.region.clone();
        let partition = partition(region.as_deref());
        let text = |text: &str| Ok(Some(Value::text(text)));
        match (is_data, resource_type.as_str(), attribute) {
            (false, "aws_iam_role" | "aws_iam_user" | "aws_iam_group", "id") => {
                self.attribute(index, "name").map(Some)
            }
            (false, "aws_iam_policy", "id") => self.attribute(index, "arn").map(Some),
            (
                false,
                "aws_iam_role" | "aws_iam_user" | "aws_iam_group" | "aws_iam_policy",
                "name",
            ) => self.made_up_name(index),
            (
                false,
                "aws_iam_role" | "aws_iam_user" | "aws_iam_group" | "aws_iam_policy",
                "arn",
            ) => {
                let kind = resource_type.trim_start_matches("aws_iam_");
                let path = self.attribute(index, "path")?;
                let name = self.attribute(index, "name")?;
                let path = if path == Value::Null {
                    Some("/".to_owned())
                } else {
                    path.as_text()
                };
                let (Some(path), Some(name)) = (path, name.as_text()) else {
                    return Ok(Some(name));
                };
                let arn = arn(partition, &self.account, kind, &path, &name);
                self.note(index, attribute, &arn);
                Ok(Some(Value::Text(arn)))
            }
            (false, "aws_iam_openid_connect_provider", "arn" | "id") => {
                let url = self.attribute(index, "url")?;
                let Some(url) = url.as_text() else {
                    return Ok(Some(url));
                };
                let host = url.trim_start_matches("https://");
                let account = &self.account;
                let arn = format!("arn:{partition}:iam::{account}:oidc-provider/{host}");
                Ok(Some(Value::Text(arn)))
            }
            (_, CLUSTER, "identifier" | "id" | "arn") => Ok(self.cluster(index, attribute)),
            (true, "aws_caller_identity", "account_id" | "id") => text(&self.account),
            (true, "aws_region", "name" | "region" | "id") => Ok(region.map(Value::Text)),
            (true, "aws_partition", "partition" | "id") => text(partition),
            (true, "aws_partition", "dns_suffix") => text(if partition == "aws-cn" {
                "amazonaws.com.cn"
            } else {
                "amazonaws.com"
            }),
            (true, "aws_iam_policy_document", "json" | "minified_json") => {
                self.policy_document(index).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn note(&mut self, index: usize, attribute: &str, value: &str) {
        let address = &self.plan.instances[index].address;
        self.filled_in
            .push(format!("{address}.{attribute}: {value}"));
    }

    /// The name that the provider would make up, if none is given: predictable here, so that it can be asked
    /// about.
    fn made_up_name(&mut self, index: usize) -> Result<Option<Value>, Error> {
        let given = match &self.plan.instances[index].values {
            Value::Object(members) => members.get("name").cloned(),
            _ => None,
        };
        if self.is_configured(index, "name") == Some(true) {
            let name = self.expressed(index, "name", given.unwrap_or(Value::Null))?;
            return Ok(Some(name));
        }
        // Where none is given, the provider shows the one that it makes up.
        let is_given = self.is_configured(index, "name_prefix") != Some(false);
        let prefix = match self.attribute(index, "name_prefix")? {
            Value::Null => "terraform-".into(),
            Value::Unknown(_) if !is_given => "terraform-".into(),
            prefix => match prefix.as_text() {
                Some(prefix) => prefix,
                None => return Ok(Some(prefix)),
            },
        };
        let instance = &self.plan.instances[index];
        let key = instance.key.as_ref().and_then(Value::as_text);
        let name = match key {
            Some(key) => format!("{prefix}{}-{key}", instance.name),
            None => format!("{prefix}{}", instance.name),
        };
        let is_fit = |char: char| char.is_ascii_alphanumeric() || "+=,.@_-".contains(char);
        let name: String = name
            .chars()
            .map(|char| if is_fit(char) { char } else { '-' })
            .collect();
        self.note(index, "name", &format!("{name} (made up)"));
        Ok(Some(Value::Text(name)))
    }

    /// The tags of a resource, with those of the provider.
    ///
    /// # Errors
    /// Those of [`attribute`](Self::attribute).
    pub fn tags(&mut self, index: usize) -> Result<Value, Error> {
        let all = self.attribute(index, "tags_all")?;
        let is_told = !matches!(all, Value::Null | Value::Unknown(_));
        // Of a resource without tags of its own the provider says that it does not know all of them.
        match is_told || all != Value::Null && self.has_default_tags() {
            true => Ok(all),
            false => self.attribute(index, "tags"),
        }
    }

    /// The region of a cluster.
    pub fn region_of(&self, index: usize) -> Option<String> {
        let own = self.plan.instances[index].values.get("region");
        own.and_then(Value::as_text)
            .or_else(|| self.facts.region.clone())
    }

    /// The id or the ARN of a cluster, as the command was told.
    fn cluster(&mut self, index: usize, attribute: &str) -> Option<Value> {
        let clusters = self.plan.instances.iter();
        let count = clusters
            .filter(|one| one.resource_type == CLUSTER && !one.is_data)
            .count();
        let address = self.plan.instances[index].address.clone();
        let known = self.plan.instances[index]
            .values
            .get("identifier")
            .and_then(Value::as_text);
        let id = match known {
            Some(id) => id,
            None => self.facts.cluster_id(&address, count)?.to_owned(),
        };
        let value = match attribute {
            "arn" => {
                let region = self.region_of(index)?;
                let (partition, account) = (partition(Some(&region)), &self.account);
                format!("arn:{partition}:{SERVICE}:{region}:{account}:cluster/{id}")
            }
            _ => id,
        };
        self.note(index, attribute, &value);
        Some(Value::Text(value))
    }

    /// The document that an `aws_iam_policy_document` makes, as
    /// <https://registry.terraform.io/providers/hashicorp/aws/latest/docs/data-sources/iam_policy_document>
    /// describes it.
    fn policy_document(&mut self, index: usize) -> Result<Value, Error> {
        let mut statements = Vec::new();
        for name in ["source_json", "source_policy_documents"] {
            for document in self.attribute(index, name)?.elements() {
                statements.extend(statements_of(document));
            }
        }
        let blocks = self.attribute(index, "statement")?;
        let planned = self.plan.instances[index].values.get("statement");
        let planned = planned.cloned().unwrap_or(Value::Null);
        let is_exact =
            self.has_source(index) || planned.elements().len() != blocks.elements().len();
        for (number, block) in blocks.elements().iter().enumerate() {
            statements.push(match planned.elements().get(number) {
                Some(planned) if !is_exact => statement_of(&as_referred(planned, block)),
                _ => statement_of(block),
            });
        }
        for name in ["override_json", "override_policy_documents"] {
            for document in self.attribute(index, name)?.elements() {
                for statement in statements_of(document) {
                    // Of the same Sid it takes the other's place; an unknown one may be any's.
                    if let Some(sid) = statement.get("Sid") {
                        let is_same = |other: &Value| other.get("Sid") == Some(sid);
                        statements.retain(|other| !is_same(other));
                    }
                    statements.push(statement);
                }
            }
        }
        let version = match self.attribute(index, "version")? {
            Value::Null => Value::text("2012-10-17"),
            version => version,
        };
        let id = self.attribute(index, "policy_id")?;
        let mut document = BTreeMap::from([
            ("Version".to_owned(), version),
            ("Statement".to_owned(), Value::List(statements)),
        ]);
        if let Some(id) = id.as_text() {
            document.insert("Id".into(), Value::Text(id));
        }
        Ok(Value::Object(document))
    }
}

/// A block of which the unknown parts are read from what their expressions refer to. That may be less than the
/// expressions are, so it counts for what an Allow names: elsewhere, as in a Deny, what is unknown stays so.
fn as_referred(planned: &Value, referred: &Value) -> Value {
    let (Value::Object(planned), Value::Object(referred)) = (planned, referred) else {
        return planned.clone();
    };
    let mut block = planned.clone();
    let is_allow = match planned.get("effect") {
        None | Some(Value::Null) => true,
        Some(effect) => *effect == Value::text("Allow"),
    };
    for name in ["resources", "principals"].into_iter().filter(|_| is_allow) {
        if let Some(value) = referred.get(name) {
            block.insert(name.into(), value.clone());
        }
    }
    Value::Object(block)
}

/// The statements of a document; an unknown one of a document that is unknown.
fn statements_of(document: &Value) -> Vec<Value> {
    let parsed;
    let document = match document {
        Value::Text(text) if text.trim().is_empty() => return Vec::new(),
        Value::Text(text) => match from_json(text) {
            Ok(value) => {
                parsed = value;
                &parsed
            }
            Err(_) => return vec![Value::unknown("a policy document that is not JSON")],
        },
        document => document,
    };
    match document {
        Value::Object(members) => members
            .get("Statement")
            .map_or(&[][..], Value::elements)
            .to_vec(),
        other => {
            let name = other
                .first_unknown()
                .map_or("a policy document", |name| name);
            vec![Value::unknown(name)]
        }
    }
}

/// A statement of the data source, as a policy has it.
fn statement_of(block: &Value) -> Value {
    let Value::Object(members) = block else {
        return block.clone();
    };
    let mut statement = BTreeMap::from([("Effect".to_owned(), Value::text("Allow"))]);
    let is_given = |value: &&Value| {
        **value != Value::Null && !matches!(value, Value::List(list) if list.is_empty())
    };
    for (from, to) in [
        ("effect", "Effect"),
        ("actions", "Action"),
        ("not_actions", "NotAction"),
        ("resources", "Resource"),
        ("not_resources", "NotResource"),
    ] {
        if let Some(value) = members.get(from).filter(is_given) {
            statement.insert(to.into(), unescaped(value));
        }
    }
    if let Some(sid) = members
        .get("sid")
        .filter(|sid| **sid != Value::text("") && **sid != Value::Null)
    {
        statement.insert("Sid".into(), sid.clone());
    }
    for (from, to) in [
        ("principals", "Principal"),
        ("not_principals", "NotPrincipal"),
    ] {
        if let Some(blocks) = members.get(from).filter(is_given) {
            statement.insert(to.into(), principals(blocks));
        }
    }
    if let Some(blocks) = members.get("condition").filter(is_given) {
        statement.insert("Condition".into(), conditions(blocks));
    }
    Value::Object(statement)
}

/// A policy variable is written `&{…}` in the data source.
fn unescaped(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(text.replace("&{", "${")),
        Value::List(list) => Value::List(list.iter().map(unescaped).collect()),
        other => other.clone(),
    }
}

fn principals(blocks: &Value) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for block in blocks.elements() {
        let (Some(kind), Some(identifiers)) = (
            block.get("type").and_then(Value::as_text),
            block.get("identifiers"),
        ) else {
            let name = block.first_unknown().map_or("principals", |name| name);
            return Value::unknown(name);
        };
        if kind == "*" {
            return Value::text("*");
        }
        let identifiers = unescaped(identifiers);
        all.entry(kind)
            .or_default()
            .extend(identifiers.elements().iter().cloned());
    }
    Value::object(
        all.into_iter()
            .map(|(kind, list)| (kind, Value::List(list))),
    )
}

fn conditions(blocks: &Value) -> Value {
    let mut operators: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for block in blocks.elements() {
        let text = |name: &str| block.get(name).and_then(Value::as_text);
        let (Some(test), Some(variable), Some(values)) =
            (text("test"), text("variable"), block.get("values"))
        else {
            let name = block.first_unknown().map_or("a condition", |name| name);
            return Value::unknown(name);
        };
        let keys = operators.entry(test).or_default();
        let more = unescaped(values).elements().to_vec();
        match keys.get_mut(&variable) {
            Some(Value::List(list)) => list.extend(more),
            _ => {
                keys.insert(variable, Value::List(more));
            }
        }
    }
    Value::object(
        operators
            .into_iter()
            .map(|(test, keys)| (test, Value::Object(keys))),
    )
}
