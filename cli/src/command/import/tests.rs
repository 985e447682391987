//! Plans and templates in `tests/data/import`, each with the same account written out as documents: the two decide
//! alike. A case has a `case.json`, with the arguments, the inputs, who may do what, and the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use dsql_iam_core::directory::Snapshot;
use dsql_iam_core::policy::RequestPrincipal;
use dsql_iam_core::{
    Cluster, ConnectionFacts, DecisionKind, IamArn, IamKind, Identities, LoginEnvironment, Request,
    authorize, documents, request_context,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::macros::utc_datetime;

use super::{Arguments, run};

use crate::shared::error::Error;

mod generated;

const ACCOUNT: &str = "012345678912";
const CLUSTER: &str = "abcdefghijklmnopqrstuvwxyz";
const ACTIONS: [&str; 2] = ["DbConnect", "DbConnectAdmin"];

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    arguments: Vec<String>,
    inputs: Vec<String>,
    /// what each user and role may do on the cluster; the others nothing
    logins: BTreeMap<String, Vec<String>>,
    /// what the summary says, among others
    summary: Vec<String>,
    documents: Vec<Json>,
}

/// Imports, and gives the summary and what a server would load.
fn import(words: &[&str]) -> Result<(String, Identities), Error> {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("iam");
    let words = ["import"].into_iter().chain(words.iter().copied());
    let words = words.chain(["--out", out.to_str().unwrap()]);
    let command = Command::try_parse_from(words).map_err(Error::of)?;
    let report = run(command.arguments)?;
    let identities = Snapshot::read(&out)
        .unwrap()
        .identities()
        .map_err(Error::of)?;
    Ok((report.text, identities))
}

fn loaded(documents: &[Json]) -> Identities {
    let texts: Vec<String> = documents.iter().map(Json::to_string).collect();
    let parsed = texts
        .iter()
        .map(|text| ("x.json", documents::parse(text).unwrap()));
    match documents::merge(parsed) {
        Ok(identities) => identities,
        Err((_, fault)) => panic!("{fault}"),
    }
}

/// The users and roles of the account, by ARN.
fn principals(identities: &Identities, documents: &[Json]) -> BTreeSet<String> {
    let mut arns = BTreeSet::new();
    for (list, document) in documents
        .iter()
        .flat_map(|document| ["UserDetailList", "RoleDetailList"].map(|list| (list, document)))
    {
        let entries = document[list].as_array().into_iter().flatten();
        arns.extend(entries.map(|entry| entry["Arn"].as_str().unwrap().to_owned()));
    }
    assert!(
        arns.iter().all(|arn| identities.principal(arn).is_some()),
        "{arns:?}"
    );
    arns
}

/// The actions that a user or role may do on the cluster; none, where something that counts is missing.
fn allowed(identities: &Identities, arn: &str, cluster: &Cluster) -> Vec<&'static str> {
    let principal = identities
        .principal(arn)
        .unwrap_or_else(|| panic!("no {arn}"));
    let parsed = IamArn::parse(arn).unwrap();
    let session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/x", parsed.name);
    let caller = match parsed.kind {
        IamKind::Role => RequestPrincipal {
            arn: &session,
            role_arn: Some(arn),
            unique_id: None,
        },
        _ => RequestPrincipal {
            arn,
            role_arn: None,
            unique_id: None,
        },
    };
    let environment = LoginEnvironment {
        now: utc_datetime!(2026-11-01 12:00),
        cluster,
        identities,
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    };
    let context = request_context(&environment, principal, None);
    let Ok(mut policies) = identities.policies(principal, None) else {
        return Vec::new();
    };
    policies.resource = identities.cluster_policy();
    let resource = cluster.arn();
    let is_allowed = |action: &&str| {
        let action = format!("dsql:{action}");
        let request = Request {
            action: &action,
            resource: &resource,
            resource_account: None,
            context: &context,
        };
        authorize(&policies, &caller, &request).kind == DecisionKind::Allowed
    };
    ACTIONS
        .into_iter()
        .filter(|action| is_allowed(action))
        .collect()
}

fn cluster(id: &str) -> Cluster {
    Cluster::new(ACCOUNT, "us-east-1", id, "").unwrap()
}

fn data(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/import")
        .join(kind)
}

/// The words of the command line; paths are those of the case.
fn words(kind: &str, directory: &Path, case: &Case) -> Vec<String> {
    let mut words = vec![kind.to_owned()];
    for argument in &case.arguments {
        let path = directory.join(argument);
        words.push(if path.exists() {
            path.to_str().unwrap().into()
        } else {
            argument.clone()
        });
    }
    words.extend(
        case.inputs
            .iter()
            .map(|input| directory.join(input).to_str().unwrap().to_owned()),
    );
    words
}

fn cases(kind: &str) {
    let mut directories: Vec<_> = fs::read_dir(data(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    directories.sort();
    assert!(directories.len() >= 12, "{}", directories.len());
    for directory in directories {
        let name = directory
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(directory.join("case.json")).unwrap();
        let case: Case =
            serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let words = words(kind, &directory, &case);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (summary, imported) = import(&words).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for line in &case.summary {
            assert!(
                summary.contains(line),
                "{name}: no \"{line}\" in\n{summary}"
            );
        }
        let exported = loaded(&case.documents);
        assert_eq!(
            imported.counts(),
            exported.counts(),
            "{name}: users, roles and keys"
        );
        let mut expected = case.logins.clone();
        for arn in principals(&imported, &case.documents) {
            for id in [CLUSTER, "zyxwvutsrqponmlkjihgfedcba"] {
                let cluster = cluster(id);
                let (one, other) = (
                    allowed(&imported, &arn, &cluster),
                    allowed(&exported, &arn, &cluster),
                );
                assert_eq!(one, other, "{name}: {arn} on {id}\n{summary}");
            }
            let own = expected
                .remove(arn.rsplit_once(':').unwrap().1)
                .unwrap_or_default();
            assert_eq!(
                allowed(&imported, &arn, &cluster(CLUSTER)),
                own,
                "{name}: {arn}\n{summary}"
            );
        }
        assert!(expected.is_empty(), "{name}: {expected:?}");
    }
}

#[test]
fn plans_and_states_decide_as_the_same_account_written_out() {
    cases("terraform");
}

#[test]
fn templates_decide_as_the_same_account_written_out() {
    cases("cloudformation");
}

/// Words of a command that reads a file of this text.
fn import_text(
    kind: &str,
    name: &str,
    text: &str,
    more: &[&str],
) -> Result<(String, Identities), Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    let words = [&[kind], more, &[path.to_str().unwrap()]].concat();
    import(&words)
}

fn fault(kind: &str, text: &str, more: &[&str]) -> String {
    match import_text(kind, "input", text, more) {
        Ok((summary, _)) => panic!("imported: {text}\n{summary}"),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn faults_are_named() {
    let facts = ["--account-id", ACCOUNT, "--region", "us-east-1"];
    let state = |resource: Json| {
        json!({"format_version": "1.0", "values": {"root_module": {"resources": [resource]}}})
            .to_string()
    };
    let role = |values: Json| {
        state(
            json!({"address": "aws_iam_role.a", "mode": "managed", "type": "aws_iam_role", "name": "a",
            "values": values}),
        )
    };
    let wrong =
        json!({"name": "a", "assume_role_policy": "{\"Statement\": {\"Effect\": \"allow\"}}"});
    let template = |resources: Json| json!({"Resources": resources}).to_string();
    let looped =
        json!({"Type": "AWS::IAM::Role", "Properties": {"RoleName": {"Fn::Sub": "x-${A}"}}});
    let conditions =
        json!({"Resources": {}, "Conditions": {"A": {"Condition": "B"}, "B": {"Condition": "A"}}});
    let mut circular = conditions.clone();
    circular["Resources"] = json!({"R": {"Type": "AWS::IAM::Role", "Condition": "A"}});
    for (kind, text, expected) in [
        ("terraform", "{", "EOF while parsing"),
        ("terraform", "{}", "not the output of terraform show -json"),
        (
            "terraform",
            r#"{"format_version": "2.0"}"#,
            "its format_version is not 1",
        ),
        (
            "terraform",
            r#"{"format_version": "1.2", "errored": true}"#,
            "the plan is incomplete",
        ),
        (
            "terraform",
            r#"{"format_version": "1.0", "format_version": "1.0"}"#,
            "duplicate member",
        ),
        (
            "terraform",
            &role(wrong),
            "aws_iam_role.a: trust policy: Effect is \"allow\"",
        ),
        ("cloudformation", "", "the template is empty"),
        (
            "cloudformation",
            "a: b",
            "not a template: there are no Resources",
        ),
        ("cloudformation", "{", "EOF while parsing"),
        (
            "cloudformation",
            "Resources:\n  A: 1\n  A: 2",
            "line 3: duplicate member \"A\"",
        ),
        (
            "cloudformation",
            &template(json!({"A": looped})),
            "a value refers to itself: input.A -> input.A",
        ),
        (
            "cloudformation",
            &circular.to_string(),
            "a value refers to itself: condition A of input -> condition B of input -> condition A of input",
        ),
        (
            "cloudformation",
            &template(json!({"Fn::ForEach::X": []})),
            "Fn::ForEach::X makes resources",
        ),
    ] {
        let fault = fault(kind, text, &facts);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
    let id = fault(
        "terraform",
        "{}",
        &["--cluster-id", "aws_dsql_cluster.a=ABC"],
    );
    assert_eq!(
        id,
        "\"ABC\" is not the id of a cluster: 26 characters of a-z and 0-9"
    );
    let no_account = fault("cloudformation", &template(json!({})), &[]);
    assert_eq!(
        no_account,
        "the account is not in the input: give --account-id"
    );
    let other = role(json!({"name": "a", "arn": "arn:aws:iam::111111111111:role/a"}));
    let other = fault("terraform", &other, &facts);
    assert!(
        other.ends_with("the input is of account 111111111111, and --account-id is 012345678912"),
        "{other}"
    );
    let parameter = fault(
        "cloudformation",
        &template(json!({})),
        &[&facts[..], &["--parameter", "A=1"]].concat(),
    );
    assert_eq!(parameter, "--parameter: no template has a parameter \"A\"");
}

#[test]
fn a_module_or_a_local_that_refers_to_itself_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    let plan = json!({"format_version": "1.2", "planned_values": {"root_module": {"resources": [
        {"address": "aws_iam_role.a", "mode": "managed", "type": "aws_iam_role", "name": "a", "values": {}}]}},
        "resource_changes": [{"address": "aws_iam_role.a", "mode": "managed", "type": "aws_iam_role", "name": "a",
            "change": {"actions": ["create"], "after": {}, "after_unknown": {"name": true}}}]});
    let resource = "resource \"aws_iam_role\" \"a\" {\n  name = local.a\n}\n";
    for (text, expected) in [
        (
            "locals {\n  a = local.b\n  b = \"${local.a}-x\"\n}\n",
            "itself: local.a -> local.b -> local.a",
        ),
        (
            "locals {\n  a = aws_iam_role.a.name\n}\n",
            "aws_iam_role.a.name -> local.a -> aws_iam_role.a.name",
        ),
        (
            "module \"m\" {\n  source = \"./\"\n}\n",
            "does a module call itself?",
        ),
        ("locals {\n", "main.tf"),
    ] {
        fs::write(source.join("main.tf"), format!("{resource}{text}")).unwrap();
        let words = [
            "--account-id",
            ACCOUNT,
            "--source",
            source.to_str().unwrap(),
        ];
        let fault = fault("terraform", &plan.to_string(), &words);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}

#[test]
fn input_has_bounds() {
    let facts = ["--account-id", ACCOUNT, "--region", "us-east-1"];
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let yaml = fault(
        "cloudformation",
        &format!("Resources:\n  A: {deep}"),
        &facts,
    );
    assert!(yaml.contains("recursion limit exceeded"), "{yaml}");
    let json = fault(
        "cloudformation",
        &format!("{{\"Resources\": {deep}}}"),
        &facts,
    );
    assert!(json.contains("recursion limit exceeded"), "{json}");
    // Each output is twice the one before.
    let mut outputs = serde_json::Map::new();
    for number in 0..40 {
        let last = json!({"Fn::ImportValue": format!("e{}", number - 1)});
        let value = if number == 0 {
            json!("xxxxxxxx")
        } else {
            json!({"Fn::Join": ["", [last, last]]})
        };
        outputs.insert(
            format!("O{number}"),
            json!({"Value": value, "Export": {"Name": format!("e{number}")}}),
        );
    }
    let role =
        json!({"Type": "AWS::IAM::Role", "Properties": {"RoleName": {"Fn::ImportValue": "e39"}}});
    let template = json!({"Resources": {"A": role}, "Outputs": outputs});
    let large = fault("cloudformation", &template.to_string(), &facts);
    assert!(large.contains("is too large"), "{large}");
}

#[test]
fn documents_are_written_for_their_owner_alone_and_never_over_others() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (input, out) = (
        directory.path().join("t.json"),
        directory.path().join("iam"),
    );
    let user = json!({"Type": "AWS::IAM::User", "Properties": {"UserName": "ann"}});
    fs::write(&input, json!({"Resources": {"Ann": user}}).to_string()).unwrap();
    let words = [
        "import",
        "cloudformation",
        "--account-id",
        ACCOUNT,
        "--make-keys",
        "--out",
    ];
    let words = words
        .into_iter()
        .chain([out.to_str().unwrap(), input.to_str().unwrap()]);
    let command = || Command::try_parse_from(words.clone()).unwrap().arguments;
    let Ok(report) = run(command()) else { panic!() };
    let key = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let key = key
        .into_iter()
        .find(|path| path.to_string_lossy().contains("key-AKIA"))
        .unwrap();
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let secret: Json = serde_json::from_str(&fs::read_to_string(&key).unwrap()).unwrap();
    let secret = secret["AccessKey"]["SecretAccessKey"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(secret.len() == 40 && !report.text.contains(&secret));
    let counts = Snapshot::read(&out).unwrap().identities().unwrap().counts();
    assert_eq!((counts.users, counts.roles, counts.access_keys), (1, 0, 1));
    let Err(fault) = run(command()) else { panic!() };
    let fault = fault.to_string();
    assert!(
        fault.contains("which would be loaded too; choose an empty directory"),
        "{fault}"
    );
}
