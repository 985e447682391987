//! The statements as they stand in the documents, for people who review them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use dsql_iam_core::access::Statement;
use serde_json::Value;

/// The statements of each policy, by the name that a decision has for it and by its file.
#[derive(Default)]
pub struct Sources {
    policies: HashMap<(String, String), Vec<Value>>,
}

impl Sources {
    /// Reads the users', groups', roles' and managed policies, those of the organization, of the cluster and of
    /// sessions, of a directory that has been loaded. An unreadable document is left out: the decisions do not rest on this.
    pub fn read(directory: &Path) -> Self {
        let mut sources = Self::default();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".json") || name.starts_with('.') {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let document: Value = serde_json::from_str(&text).unwrap_or_default();
            sources.add(&name, &document);
        }
        sources
    }

    /// The text of a statement, if it is known.
    pub fn text(&self, statement: &Statement) -> Option<String> {
        let key = (statement.policy.clone(), statement.file.clone()?);
        let found = self.policies.get(&key)?.get(statement.index)?;
        serde_json::to_string_pretty(found).ok()
    }

    fn add(&mut self, file: &str, document: &Value) {
        for (list, inline) in [
            ("UserDetailList", "UserPolicyList"),
            ("GroupDetailList", "GroupPolicyList"),
            ("RoleDetailList", "RolePolicyList"),
        ] {
            for owner in elements(&document[list]) {
                for policy in elements(&owner[inline]) {
                    let (name, owner) = (text(&policy["PolicyName"]), text(&owner["Arn"]));
                    let shown = format!("inline policy {name} of {owner}");
                    self.insert(file, shown, &policy["PolicyDocument"]);
                }
            }
        }
        for policy in elements(&document["Policies"]) {
            let mut versions = elements(&policy["PolicyVersionList"]);
            let version = versions.find(|version| version["IsDefaultVersion"] == true);
            if let Some(version) = version {
                self.insert(file, text(&policy["Arn"]), &version["Document"]);
            }
        }
        let of_organization = &document["Policy"];
        let name = text(&of_organization["PolicySummary"]["Name"]);
        self.insert(file, name, &of_organization["Content"]);
        let of_session = &document["Request"]["Policy"];
        self.insert(file, "the session's inline policy".into(), of_session);
        self.insert(file, "the cluster's policy".into(), &document["policy"]);
    }

    fn insert(&mut self, file: &str, policy: String, document: &Value) {
        // Some print a document as a string of JSON.
        let parsed = document.as_str().map(serde_json::from_str::<Value>);
        let parsed = parsed.and_then(Result::ok);
        let statements = match &parsed.as_ref().unwrap_or(document)["Statement"] {
            Value::Null => return,
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        self.policies.insert((policy, file.to_owned()), statements);
    }
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
