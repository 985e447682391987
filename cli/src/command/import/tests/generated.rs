//! Accounts that are made at random, from seeds that are always the same: written as documents, as a plan and as a
//! template they decide alike, and with any value unknown nobody may do more.

use super::*;

use crate::shared::error::Error;

const TEAMS: [&str; 2] = ["a", "b"];

/// Numbers of which one follows from the other (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % bound as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn some_of(&mut self, count: usize) -> Vec<usize> {
        (0..count).filter(|_| self.below(3) == 0).collect()
    }
}

struct Entity {
    kind: &'static str,
    name: String,
    team: &'static str,
    inline: Option<Json>,
    attached: Vec<usize>,
    groups: Vec<usize>,
    boundary: Option<usize>,
}

struct Model {
    policies: Vec<Json>,
    entities: Vec<Entity>,
}

fn document(random: &mut Random) -> Json {
    let mut statements = Vec::new();
    for _ in 0..=random.below(2) {
        let effect = if random.below(4) == 0 {
            "Deny"
        } else {
            "Allow"
        };
        let actions = [
            "dsql:DbConnect",
            "dsql:DbConnectAdmin",
            "dsql:*",
            "*",
            "s3:GetObject",
        ];
        let own = format!("arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/{CLUSTER}");
        let resource = random
            .one_of(&["*", &own, "arn:aws:dsql:*:*:cluster/*"])
            .to_owned();
        let mut statement =
            json!({"Effect": effect, "Action": [random.one_of(&actions)], "Resource": resource});
        if random.below(3) == 0 {
            let operator = random.one_of(&["StringEquals", "StringNotEquals"]);
            statement["Condition"] =
                json!({operator: {"aws:PrincipalTag/team": random.one_of(&TEAMS)}});
        }
        statements.push(statement);
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

impl Model {
    fn new(seed: u64) -> Self {
        let random = &mut Random(seed);
        let policies = (0..4).map(|_| document(random)).collect();
        let mut entities = Vec::new();
        for (kind, count) in [("group", 3), ("user", 5), ("role", 5)] {
            for number in 0..count {
                let is_group = kind == "group";
                entities.push(Entity {
                    kind,
                    name: format!("{kind}{number}"),
                    team: random.one_of(&TEAMS),
                    inline: (random.below(2) == 0).then(|| document(random)),
                    attached: random.some_of(4),
                    groups: if kind == "user" {
                        random.some_of(3)
                    } else {
                        Vec::new()
                    },
                    boundary: (!is_group && random.below(4) == 0).then(|| random.below(4)),
                });
            }
        }
        Self { policies, entities }
    }

    fn export(&self) -> Json {
        let arn = |number: &usize| format!("arn:aws:iam::{ACCOUNT}:policy/policy{number}");
        let mut lists = json!({"UserDetailList": [], "GroupDetailList": [], "RoleDetailList": []});
        for one in &self.entities {
            let word = format!("{}{}", one.kind[..1].to_uppercase(), &one.kind[1..]);
            let attached = one
                .attached
                .iter()
                .map(|number| json!({"PolicyArn": arn(number)}));
            let inline = one
                .inline
                .iter()
                .map(|document| json!({"PolicyName": "p", "PolicyDocument": document}));
            let mut entry = json!({
                format!("{word}Name"): one.name,
                "Arn": format!("arn:aws:iam::{ACCOUNT}:{}/{}", one.kind, one.name),
                "AttachedManagedPolicies": attached.collect::<Vec<_>>(),
                format!("{word}PolicyList"): inline.collect::<Vec<_>>(),
            });
            if one.kind != "group" {
                entry["Tags"] = json!([{"Key": "team", "Value": one.team}]);
            }
            if one.kind == "user" {
                entry["GroupList"] = one
                    .groups
                    .iter()
                    .map(|number| format!("group{number}"))
                    .collect();
            }
            if let Some(number) = &one.boundary {
                entry["PermissionsBoundary"] = json!({"PermissionsBoundaryArn": arn(number)});
            }
            lists[format!("{word}DetailList")]
                .as_array_mut()
                .unwrap()
                .push(entry);
        }
        let policies = self.policies.iter().enumerate().map(|(number, document)| {
            json!({"Arn": arn(&number), "DefaultVersionId": "v1",
                "PolicyVersionList": [{"VersionId": "v1", "Document": document}]})
        });
        lists["Policies"] = policies.collect();
        lists
    }

    /// The resources of a plan: type, name, what is known, and what other values are known to refer to.
    fn resources(&self) -> Vec<(String, String, Json, Json)> {
        let refers = |text: String| {
            let whole = text.rsplit_once('.').unwrap().0.to_owned();
            json!({"references": [text, whole]})
        };
        let policy = |number: &usize| refers(format!("aws_iam_policy.policy{number}.arn"));
        let mut all = Vec::new();
        for (number, document) in self.policies.iter().enumerate() {
            let name = format!("policy{number}");
            let values = json!({"name": name, "path": "/", "policy": document.to_string()});
            all.push(("aws_iam_policy".into(), name, values, json!({})));
        }
        for one in &self.entities {
            let (kind, name) = (one.kind, &one.name);
            let own = || refers(format!("aws_iam_{kind}.{name}.id"));
            let mut expressions = json!({});
            if let Some(number) = &one.boundary {
                expressions["permissions_boundary"] = policy(number);
            }
            let values = json!({"name": name, "path": "/", "tags": {"team": one.team}, "tags_all": {"team": one.team}});
            all.push((format!("aws_iam_{kind}"), name.clone(), values, expressions));
            if let Some(document) = &one.inline {
                let values = json!({"name": "p", "policy": document.to_string()});
                all.push((
                    format!("aws_iam_{kind}_policy"),
                    name.clone(),
                    values,
                    json!({kind: own()}),
                ));
            }
            for number in &one.attached {
                let expressions = json!({kind: own(), "policy_arn": policy(number)});
                let name = format!("{name}_{number}");
                all.push((
                    format!("aws_iam_{kind}_policy_attachment"),
                    name,
                    json!({}),
                    expressions,
                ));
            }
            for number in &one.groups {
                let group = refers(format!("aws_iam_group.group{number}.name"));
                let expressions = json!({"user": own(), "groups": group});
                let name = format!("{name}_{number}");
                all.push((
                    "aws_iam_user_group_membership".into(),
                    name,
                    json!({}),
                    expressions,
                ));
            }
        }
        all
    }

    /// A plan. Of the resource `without.0` the attribute `without.1` is unknown, and refers to nothing.
    fn plan(&self, without: Option<(usize, &str)>) -> Json {
        let (mut planned, mut changes, mut configured) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (kind, name, mut values, mut expressions)) in
            self.resources().into_iter().enumerate()
        {
            let mut unknown = json!({"arn": true, "id": true});
            for attribute in expressions.as_object().unwrap().keys() {
                unknown[attribute] = true.into();
            }
            if let Some((_, attribute)) = without.filter(|(of, _)| *of == number) {
                values.as_object_mut().unwrap().remove(attribute);
                unknown[attribute] = true.into();
                if attribute == "tags" {
                    values.as_object_mut().unwrap().remove("tags_all");
                    unknown["tags_all"] = true.into();
                }
                expressions[attribute] = json!({"references": ["random_pet.x.id", "random_pet.x"]});
            }
            let head = json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name});
            let with = |more: Json| {
                let mut one = head.clone();
                one.as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                one
            };
            planned.push(with(json!({"values": values})));
            let change = json!({"actions": ["create"], "after": values, "after_unknown": unknown});
            changes.push(with(json!({"change": change})));
            configured.push(with(json!({"expressions": expressions})));
        }
        json!({"format_version": "1.2", "planned_values": {"root_module": {"resources": planned}},
            "resource_changes": changes, "configuration": {"root_module": {"resources": configured}}})
    }

    fn template(&self) -> Json {
        let mut resources = serde_json::Map::new();
        let policy = |number: &usize| json!({"Ref": format!("policy{number}")});
        for (number, document) in self.policies.iter().enumerate() {
            let attached = |kind: &str| -> Json {
                let all = self.entities.iter();
                let all = all.filter(|one| one.kind == kind && one.attached.contains(&number));
                // Half of them here, and half in the role itself.
                let all = all.filter(|one| one.name.ends_with(['0', '2', '4']));
                all.map(|one| json!({"Ref": one.name})).collect()
            };
            let properties = json!({"ManagedPolicyName": format!("policy{number}"), "PolicyDocument": document,
                "Users": attached("user"), "Groups": attached("group"), "Roles": attached("role")});
            resources.insert(
                format!("policy{number}"),
                json!({"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}),
            );
        }
        for one in &self.entities {
            let word = format!("{}{}", one.kind[..1].to_uppercase(), &one.kind[1..]);
            let mut properties = json!({format!("{word}Name"): one.name});
            if !one.name.ends_with(['0', '2', '4']) {
                properties["ManagedPolicyArns"] = one.attached.iter().map(policy).collect();
            }
            if let Some(document) = &one.inline {
                properties["Policies"] = json!([{"PolicyName": "p", "PolicyDocument": document}]);
            }
            if one.kind != "group" {
                properties["Tags"] = json!([{"Key": "team", "Value": one.team}]);
            }
            if one.kind == "user" {
                let groups = one.groups.iter();
                properties["Groups"] = groups
                    .map(|number| json!({"Ref": format!("group{number}")}))
                    .collect();
            }
            if let Some(number) = &one.boundary {
                properties["PermissionsBoundary"] = policy(number);
            }
            let resource = json!({"Type": format!("AWS::IAM::{word}"), "Properties": properties});
            resources.insert(one.name.clone(), resource);
        }
        json!({"Resources": resources})
    }
}

const FACTS: [&str; 4] = ["--account-id", ACCOUNT, "--region", "us-east-1"];

/// Imports without writing anything: the summary, and what a server would load.
fn in_memory(kind: &str, input: &Json) -> Result<(String, Identities), Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, input.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let words = [&["import", kind][..], &FACTS, &[path]].concat();
    let arguments = Command::try_parse_from(words).unwrap().arguments;
    let imported = super::super::import(&arguments)?;
    let documents: Vec<Json> = imported
        .documents
        .iter()
        .map(|one| one.json.clone())
        .collect();
    Ok((imported.report()?.text, loaded(&documents)))
}

/// The actions that each principal may do, by ARN; of those that are not there, nothing is said.
fn everybody(identities: &Identities, export: &Json) -> BTreeMap<String, Vec<&'static str>> {
    let cluster = cluster(CLUSTER);
    let lists = ["UserDetailList", "RoleDetailList"].map(|list| export[list].as_array().unwrap());
    let arns = lists
        .into_iter()
        .flatten()
        .map(|entry| entry["Arn"].as_str().unwrap());
    let there = arns.filter(|arn| identities.principal(arn).is_some());
    there
        .map(|arn| (arn.to_owned(), allowed(identities, arn, &cluster)))
        .collect()
}

#[test]
fn an_account_is_the_same_in_all_three_forms() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..30 {
        let model = Model::new(seed);
        let export = model.export();
        let expected = everybody(&loaded(std::slice::from_ref(&export)), &export);
        let forms = [
            ("terraform", model.plan(None)),
            ("cloudformation", model.template()),
        ];
        for (kind, input) in forms {
            let (summary, imported) = in_memory(kind, &input).unwrap();
            assert_eq!(
                everybody(&imported, &export),
                expected,
                "{kind}, seed {seed}\n{summary}"
            );
        }
        outcomes.extend(expected.into_values());
    }
    assert_eq!(
        outcomes.len(),
        4,
        "every combination of the two actions: {outcomes:?}"
    );
}

/// Nobody may do more than with the values that are known.
fn assert_no_more(
    kind: &str,
    input: &Json,
    (export, expected): (&Json, &BTreeMap<String, Vec<&'static str>>),
    what: &str,
) -> bool {
    let Ok((summary, imported)) = in_memory(kind, input) else {
        return false;
    };
    for (arn, actions) in everybody(&imported, export) {
        let known = &expected[&arn];
        assert!(
            actions.iter().all(|action| known.contains(action)),
            "{kind}, without {what}: {arn} may {actions:?}, and no more than {known:?}\n{summary}"
        );
    }
    true
}

/// The paths of all values below one.
fn paths(value: &Json, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Json::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered.for_each(|(number, one)| paths(one, &format!("{path}/{number}"), all));
        }
        Json::Object(members) => members.iter().for_each(|(name, one)| {
            paths(one, &format!("{path}/{}", name.replace('/', "~1")), all);
        }),
        _ => {}
    }
}

#[test]
fn an_unknown_value_opens_no_door() {
    let (mut tried, mut imported) = (0, 0);
    for seed in 100..102 {
        let model = Model::new(seed);
        let export = model.export();
        let expected = everybody(&loaded(std::slice::from_ref(&export)), &export);
        let known = (&export, &expected);
        let random = &mut Random(seed);
        let template = model.template();
        let mut all = Vec::new();
        for (id, resource) in template["Resources"].as_object().unwrap() {
            let properties = &resource["Properties"];
            for (name, property) in properties.as_object().unwrap() {
                paths(
                    property,
                    &format!("/Resources/{id}/Properties/{name}"),
                    &mut all,
                );
            }
        }
        for _ in 0..150 {
            let path = &all[random.below(all.len())];
            let mut without = template.clone();
            *without.pointer_mut(path).unwrap() = json!({"Fn::ImportValue": "nowhere"});
            imported += usize::from(assert_no_more("cloudformation", &without, known, path));
            tried += 1;
        }
        for (number, (kind, name, values, expressions)) in model.resources().into_iter().enumerate()
        {
            let attributes = [values, expressions];
            let attributes = attributes
                .iter()
                .flat_map(|object| object.as_object().unwrap().keys());
            // Of a resource whose tags are unknown, all of them are.
            for attribute in attributes.filter(|attribute| *attribute != "tags_all") {
                let plan = model.plan(Some((number, attribute)));
                let what = format!("{kind}.{name}.{attribute}");
                imported += usize::from(assert_no_more("terraform", &plan, known, &what));
                tried += 1;
            }
        }
    }
    assert!(
        tried > 400 && imported * 10 > tried * 9,
        "{imported} of {tried} were imported"
    );
}
