use super::*;
use clap::Parser;

const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
const CALLER: &str = "arn:aws:iam::012345678912:user/alice";
const ROLE: &str = "arn:aws:iam::012345678912:role/x/App";
const SESSION: &str = "arn:aws:sts::012345678912:assumed-role/App/web";
const OTHER: &str = "999999999999";

fn policy(effect: &str, more: Value) -> String {
    let mut statement = json!({"Effect": effect, "Action": "dsql:DbConnect", "Resource": "*"});
    for (name, value) in more.as_object().unwrap() {
        statement[name] = value.clone();
    }
    json!({"Version": "2012-10-17", "Statement": statement}).to_string()
}

#[derive(Parser)]
struct CustomLine {
    #[command(flatten)]
    arguments: Custom,
}

#[derive(Parser)]
struct PrincipalLine {
    #[command(flatten)]
    arguments: Principal,
}

fn simulate(input: Value) -> Result<Value, Error> {
    let line = CustomLine::parse_from(["x", "--cli-input-json", &input.to_string()]);
    custom(line.arguments).map(|answer| answer["EvaluationResults"].clone())
}

/// Asks for what is in the input, by the policies of `source` in an account of its own.
fn simulate_of(source: &str, input: Value) -> Result<Value, Error> {
    let directory = tempfile::tempdir().unwrap();
    let inline = |effect: &str, action: &str| {
        json!([{"PolicyName": "own", "PolicyDocument": {"Statement":
            {"Effect": effect, "Action": action, "Resource": "*"}}}])
    };
    let trust = |principal: Value| {
        json!({"Statement":
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}})
    };
    let managed = |name: &str, action: &str| {
        json!({"Arn": format!("arn:aws:iam::012345678912:policy/{name}"),
            "DefaultVersionId": "v1", "PolicyVersionList": [{"VersionId": "v1", "Document":
                {"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}}]})
    };
    let documents = json!({
        "UserDetailList": [
            {"UserName": "alice", "UserId": "AIDAALICE", "Arn": CALLER, "GroupList": ["staff"],
             "Tags": [{"Key": "team", "Value": "blue"}],
             "UserPolicyList": inline("Allow", "sts:AssumeRole")}],
        "GroupDetailList": [
            {"GroupName": "staff", "Arn": "arn:aws:iam::012345678912:group/staff",
             "AttachedManagedPolicies": [{"PolicyName": "Connect",
                "PolicyArn": "arn:aws:iam::012345678912:policy/Connect"}]}],
        "RoleDetailList": [
            {"RoleName": "App", "Arn": ROLE, "AssumeRolePolicyDocument":
                trust(json!({"AWS": "012345678912"})),
             "PermissionsBoundary": {"PermissionsBoundaryArn":
                "arn:aws:iam::012345678912:policy/Boundary"}},
            {"RoleName": "Closed", "Arn": "arn:aws:iam::012345678912:role/Closed",
             "AssumeRolePolicyDocument": trust(json!({"Service": "ec2.amazonaws.com"}))}],
        "Policies": [managed("Connect", "dsql:DbConnect"), managed("Boundary", "s3:*")],
    });
    std::fs::write(directory.path().join("a.json"), documents.to_string()).unwrap();
    let path = directory.path().to_str().unwrap();
    let line = PrincipalLine::parse_from([
        "x",
        "--policy-source-arn",
        source,
        "--iam-directory",
        path,
        "--cli-input-json",
        &input.to_string(),
    ]);
    principal(line.arguments).map(|answer| answer["EvaluationResults"].clone())
}

fn decision(results: Result<Value, Error>) -> Value {
    results.unwrap()[0]["EvalDecision"].clone()
}

#[test]
fn one_result_for_each_action() {
    let deny = policy(
        "Deny",
        json!({"Action": "s3:*", "Resource": "arn:aws:s3:::b"}),
    );
    let results = simulate(json!({
        "PolicyInputList": [policy("Allow", json!({"Resource": CLUSTER,
            "Action": ["dsql:DbConnect", "s3:*"]})), deny],
        "ActionNames": ["dsql:DbConnect", "dsql:DbConnectAdmin", "s3:Get"],
        "ResourceArns": [CLUSTER, "arn:aws:s3:::b"],
    }))
    .unwrap();
    let results = results.as_array().unwrap();
    let all: Vec<_> = results
        .iter()
        .map(|result| {
            let specific = result["ResourceSpecificResults"].as_array().unwrap();
            let resources = specific.iter().map(|specific| {
                assert!(specific["MissingContextValues"].is_array());
                assert!(specific.get("EvalDecisionDetails").is_none());
                json!([
                    specific["EvalResourceName"],
                    specific["EvalResourceDecision"],
                    specific["MatchedStatements"].as_array().unwrap().len()
                ])
            });
            // Of one account, with resources: there, and empty.
            assert_eq!(result["EvalDecisionDetails"], json!({}));
            // The form of a resource where it is known, and never one of those asked for.
            let template = "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}";
            let is_known = result["EvalActionName"] != "s3:Get";
            let expected = is_known.then(|| json!(template));
            assert_eq!(result.get("EvalResourceName"), expected.as_ref());
            json!([
                result["EvalActionName"],
                result["EvalDecision"],
                result["MatchedStatements"].as_array().unwrap().len(),
                resources.collect::<Vec<_>>()
            ])
        })
        .collect();
    let bucket = "arn:aws:s3:::b";
    assert_eq!(
        json!(all),
        json!([
            [
                "dsql:DbConnect",
                "implicitDeny",
                0,
                [[CLUSTER, "allowed", 1], [bucket, "implicitDeny", 0]]
            ],
            [
                "dsql:DbConnectAdmin",
                "implicitDeny",
                0,
                [[CLUSTER, "implicitDeny", 0], [bucket, "implicitDeny", 0]]
            ],
            [
                "s3:Get",
                "explicitDeny",
                1,
                [[CLUSTER, "allowed", 1], [bucket, "explicitDeny", 1]]
            ],
        ])
    );
    assert_eq!(
        results[2]["MatchedStatements"][0]["SourcePolicyId"],
        "PolicyInputList.2"
    );
}

#[test]
fn one_resource_and_all_of_them() {
    let mut input = json!({
        "PolicyInputList": [policy("Allow", json!({}))],
        "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
    });
    let one = simulate(input.clone()).unwrap()[0].clone();
    let template = "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}";
    assert_eq!(one["EvalResourceName"], template);
    let specific = &one["ResourceSpecificResults"][0];
    assert_eq!(specific["EvalResourceName"], CLUSTER);
    assert_eq!(one["EvalDecisionDetails"], json!({}));
    assert_eq!(one["ResourceSpecificResults"].as_array().unwrap().len(), 1);
    for resources in [json!(["*"]), json!([])] {
        input["ResourceArns"] = resources;
        let all = simulate(input.clone()).unwrap()[0].clone();
        assert_eq!(all["EvalResourceName"], template);
        assert!(all.get("EvalDecisionDetails").is_none());
        assert!(all.get("ResourceSpecificResults").is_none());
    }
    for (action, resource, expected) in [
        ("s3:GetObject", "*", json!("*")),
        ("s3:GetObject", "arn:aws:s3:::b/k", Value::Null),
        ("sts:GetCallerIdentity", ROLE, json!("*")),
        (
            "STS:assumerole",
            ROLE,
            json!("arn:${Partition}:iam::${Account}:role/${RoleNameWithPath}"),
        ),
    ] {
        input["ActionNames"] = json!([action]);
        input["ResourceArns"] = json!([resource]);
        let result = simulate(input.clone()).unwrap()[0].clone();
        assert_eq!(result["EvalResourceName"], expected, "{action} {resource}");
    }
}

/// AWS: neither the statements nor the missing keys are those of service control policies.
#[test]
fn what_service_control_policies_say_is_not_told() {
    let key = |key: &str| json!({"Condition": {"StringEqualsIfExists": {key: "x"}}});
    let mut input = json!({
        "PolicyInputList": [policy("Allow", key("aws:a"))],
        "OrderedOrganizationPolicyInputList":
            [{"ServiceControlPolicyInputList": [policy("Allow", key("aws:b"))]}],
        "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER, "*"],
    });
    let result = simulate(input.clone()).unwrap()[0].clone();
    let of = |result: &Value| {
        let statements = result["MatchedStatements"].as_array().unwrap().iter();
        let ids: Vec<&Value> = statements.map(|one| &one["SourcePolicyId"]).collect();
        json!([ids, result["MissingContextValues"]])
    };
    let expected = json!([["PolicyInputList.1"], ["aws:a"]]);
    assert_eq!(of(&result), expected);
    for specific in result["ResourceSpecificResults"].as_array().unwrap() {
        assert_eq!(of(specific), expected);
    }
    let deny = policy("Deny", json!({}));
    input["OrderedOrganizationPolicyInputList"] =
        json!([{"ServiceControlPolicyInputList": [deny]}]);
    let result = simulate(input).unwrap()[0].clone();
    assert_eq!(result["EvalDecision"], "explicitDeny");
    assert_eq!(of(&result), json!([[], ["aws:a"]]));
    let detail = json!({"AllowedByOrganizations": false});
    assert_eq!(result["OrganizationsDecisionDetail"], detail);
}

#[test]
fn what_is_known_of_the_caller_is_in_the_context() {
    let asked = |key: &str, value: &str| {
        let condition = json!({"Condition": {"StringEquals": {key: value}}});
        json!({"PolicyInputList": [policy("Allow", condition.clone())],
            "PolicyExclusionList": [{"PolicyType": "user-managed"},
                {"PolicyType": "permission-boundary"}],
            "ActionNames": ["dsql:DbConnect"]})
    };
    for (source, key, value) in [
        (CALLER, "aws:username", "alice"),
        (CALLER, "aws:userid", "AIDAALICE"),
        (CALLER, "aws:PrincipalTag/team", "blue"),
        (CALLER, "aws:PrincipalType", "User"),
        (ROLE, "aws:PrincipalArn", ROLE),
        (ROLE, "aws:PrincipalType", "AssumedRole"),
        (ROLE, "aws:PrincipalAccount", "012345678912"),
    ] {
        let mut input = asked(key, value);
        let results = simulate_of(source, input.clone()).unwrap();
        assert_eq!(results[0]["EvalDecision"], "allowed", "{key}");
        assert_eq!(results[0]["MissingContextValues"], json!([]));
        // The given policies count instead.
        input["ContextEntries"] = json!([{"ContextKeyName": key, "ContextKeyValues": ["other"]}]);
        assert_eq!(
            decision(simulate_of(source, input)),
            "implicitDeny",
            "{key}"
        );
    }
    // Of a caller who is not the source, and of one whom no document has.
    let mut input = asked("aws:username", "bob");
    input["CallerArn"] = "arn:aws:iam::012345678912:user/bob".into();
    assert_eq!(decision(simulate_of(CALLER, input.clone())), "allowed");
    input.as_object_mut().unwrap().remove("PolicyExclusionList");
    assert_eq!(decision(simulate(input.clone())), "allowed");
    input.as_object_mut().unwrap().remove("CallerArn");
    let results = simulate(input).unwrap();
    assert_eq!(results[0]["MissingContextValues"], json!(["aws:username"]));
    // All that is missing is told at once.
    let results = simulate(json!({
        "PolicyInputList": [policy("Allow", json!({"Condition":
            {"StringEquals": {"aws:PrincipalTag/a": "${aws:username}"}}}))],
        "ActionNames": ["dsql:DbConnect"],
    }));
    let missing = json!(["aws:PrincipalTag/a", "aws:username"]);
    assert_eq!(results.unwrap()[0]["MissingContextValues"], missing);
    // So is what a statement on another action names, as AWS tells it.
    let statement = |action: &str, resource: &str| json!({"Effect": "Allow", "Action": action, "Resource": resource});
    let both = json!({"Version": "2012-10-17", "Statement": [
        statement("s3:ListBucket", "arn:aws:s3:::${aws:PrincipalTag/allowed_service}"),
        statement("s3:GetObject", "arn:aws:s3:::example-bucket/${aws:username}/*"),
    ]});
    let results = simulate(json!({"PolicyInputList": [both.to_string()],
        "ActionNames": ["s3:ListBucket"], "ResourceArns": ["arn:aws:s3:::example-bucket"]}));
    let missing = json!(["aws:PrincipalTag/allowed_service", "aws:username"]);
    let specific = &results.unwrap()[0]["ResourceSpecificResults"][0];
    assert_eq!(specific["MissingContextValues"], missing);
    // A role is no user.
    let results = simulate_of(ROLE, asked("aws:username", "App")).unwrap();
    assert_eq!(results[0]["EvalDecision"], "implicitDeny");
    assert_eq!(results[0]["MissingContextValues"], json!(["aws:username"]));
}

#[test]
fn the_statement_is_found_in_its_text() {
    let text = "{\n \"Version\": \"2012-10-17\", \"Statement\": [\n  \
        {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"},\n  \
        {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}]}";
    let results = simulate(json!({"PolicyInputList": [text], "ActionNames": ["s3:Get"]})).unwrap();
    assert_eq!(results[0]["EvalDecision"], "explicitDeny");
    // AWS: the deny statement is the only entry.
    let statements = results[0]["MatchedStatements"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    let statement = &statements[0];
    assert_eq!(statement["SourcePolicyType"], "IAM Policy");
    assert_eq!(statement["StartPosition"], json!({"Line": 4, "Column": 3}));
    assert_eq!(statement["EndPosition"], json!({"Line": 4, "Column": 48}));
}

#[test]
fn conditions_boundary_and_session() {
    let condition = json!({"Condition": {"StringEquals": {"aws:PrincipalTag/team": "a"}}});
    let mut input = json!({
        "PolicyInputList": [policy("Allow", condition)],
        "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
    });
    let decide = |input: &Value| simulate(input.clone()).unwrap()[0].clone();
    let result = decide(&input);
    assert_eq!(result["EvalDecision"], "implicitDeny");
    let missing = json!(["aws:PrincipalTag/team"]);
    assert_eq!(result["MissingContextValues"], missing);
    let specific = &result["ResourceSpecificResults"][0];
    assert_eq!(specific["MissingContextValues"], missing);
    input["ContextEntries"] = json!([{"ContextKeyName": "aws:PrincipalTag/team",
        "ContextKeyValues": ["a"], "ContextKeyType": "string"}]);
    assert_eq!(decide(&input)["EvalDecision"], "allowed");
    input["SessionPolicyInputList"] = json!([]);
    assert_eq!(decide(&input)["EvalDecision"], "implicitDeny");
    input["SessionPolicyInputList"] = json!([policy("Allow", json!({}))]);
    for (boundary, decision, allowed) in [
        (
            policy("Allow", json!({"Action": "s3:*"})),
            "implicitDeny",
            false,
        ),
        (policy("Allow", json!({})), "allowed", true),
        (
            r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": "dsql:*", "Resource": "*"}]}"#
                .to_owned(),
            "explicitDeny",
            false,
        ),
    ] {
        input["PermissionsBoundaryPolicyInputList"] = json!([boundary]);
        let result = decide(&input);
        assert_eq!(result["EvalDecision"], decision);
        let detail = json!({"AllowedByPermissionsBoundary": allowed});
        assert_eq!(result["PermissionsBoundaryDecisionDetail"], detail);
        let specific = &result["ResourceSpecificResults"][0];
        assert_eq!(specific["PermissionsBoundaryDecisionDetail"], detail);
    }
}

#[test]
fn a_resource_policy_in_this_account_and_in_another() {
    let resource = policy("Allow", json!({"Principal": {"AWS": CALLER}}));
    let mut input = json!({
        "PolicyInputList": [policy("Allow", json!({"Action": "s3:*"}))],
        "ResourcePolicy": resource, "CallerArn": CALLER, "ActionNames": ["dsql:DbConnect"],
    });
    let decide = |input: &Value| decision(simulate(input.clone()));
    assert_eq!(decide(&input), "allowed");
    input["ResourceOwner"] = OTHER.into();
    assert_eq!(decide(&input), "implicitDeny");
    input["PolicyInputList"] = json!([policy("Allow", json!({}))]);
    assert_eq!(decide(&input), "allowed");
    input["ResourceOwner"] = "arn:aws:iam::999999999999:root".into();
    input["ResourcePolicy"] = policy("Allow", json!({"Principal": {"AWS": OTHER}})).into();
    assert_eq!(decide(&input), "implicitDeny");
}

#[test]
fn what_each_account_says_of_anothers_resource() {
    let theirs = CLUSTER.replace("012345678912", OTHER);
    let mut input = json!({
        "PolicyInputList": [policy("Allow", json!({}))], "CallerArn": CALLER,
        "PermissionsBoundaryPolicyInputList": [policy("Allow", json!({"Action": "s3:*"}))],
        "ResourcePolicy": policy("Deny", json!({"Principal": {"AWS": CALLER}})),
        "ActionNames": ["dsql:DbConnect"], "ResourceArns": [theirs],
    });
    let result = simulate(input.clone()).unwrap()[0].clone();
    let details = json!({"IAM Policy": "allowed", "Resource Policy": "explicitDeny",
        "Permissions Boundary Policy": "implicitDeny"});
    assert_eq!(result["EvalDecisionDetails"], details);
    let specific = &result["ResourceSpecificResults"][0];
    assert_eq!(specific["EvalDecisionDetails"], details);
    let statement = &result["MatchedStatements"][0];
    assert_eq!(statement["SourcePolicyType"], "Resource Policy");
    // Without a policy of the resource, nothing of the other account is known.
    let given = input.as_object_mut().unwrap();
    given.remove("ResourcePolicy");
    given.remove("PermissionsBoundaryPolicyInputList");
    let result = simulate(input).unwrap()[0].clone();
    assert_eq!(result["EvalDecision"], "allowed");
    assert_eq!(result["EvalDecisionDetails"], json!({}));
}

#[test]
fn a_role_asks_in_a_session_of_it() {
    let input = |principal: &str, caller: Option<&str>| {
        let mut input = json!({"ActionNames": ["dsql:DbConnect"],
            "ResourcePolicy": policy("Allow", json!({"Principal": {"AWS": principal}}))});
        if let Some(caller) = caller {
            input["CallerArn"] = caller.into();
        }
        input
    };
    // The boundary (s3:*) limits what is granted to the role, and not what is to the session.
    for (principal, caller, expected) in [
        (ROLE, None, "implicitDeny"),
        (ROLE, Some(ROLE), "implicitDeny"),
        (ROLE, Some(SESSION), "implicitDeny"),
        (SESSION, Some(SESSION), "allowed"),
        (SESSION, None, "implicitDeny"),
        (CALLER, Some(CALLER), "allowed"),
    ] {
        let results = simulate_of(ROLE, input(principal, caller)).unwrap();
        assert_eq!(
            results[0]["EvalDecision"], expected,
            "{principal} {caller:?}"
        );
        let detail = &results[0]["PermissionsBoundaryDecisionDetail"];
        assert_eq!(detail["AllowedByPermissionsBoundary"], false);
    }
    // Without a boundary the role's ARN does, path included.
    let mut custom = input(ROLE, Some(SESSION));
    custom["PolicyInputList"] = json!([policy("Allow", json!({"Action": "s3:*"}))]);
    assert_eq!(decision(simulate(custom.clone())), "implicitDeny");
    custom["CallerArn"] = ROLE.into();
    assert_eq!(decision(simulate(custom)), "allowed");
    let mut wide = input(ROLE, Some(SESSION));
    wide["PermissionsBoundaryPolicyInputList"] = json!([policy("Allow", json!({}))]);
    assert_eq!(decision(simulate_of(ROLE, wide)), "allowed");
}

#[test]
fn each_level_of_an_organization_has_to_allow() {
    let full = policy("Allow", json!({"Action": "*"}));
    let other = policy("Allow", json!({"Action": "s3:*"}));
    let deny = policy("Deny", json!({}));
    let asked = |levels: &[&[&String]]| {
        let level = |level: &&[&String]| json!({"ServiceControlPolicyInputList": level});
        let levels: Vec<Value> = levels.iter().map(level).collect();
        json!({"PolicyInputList": [policy("Allow", json!({}))],
            "OrderedOrganizationPolicyInputList": levels, "ActionNames": ["dsql:DbConnect"]})
    };
    for (levels, expected, allowed) in [
        (&[&[&other][..], &[&full]][..], "implicitDeny", json!(false)),
        (&[&[&full], &[&other]], "implicitDeny", json!(false)),
        (&[&[&full], &[]], "implicitDeny", json!(false)),
        (&[&[&full], &[&full, &deny]], "explicitDeny", json!(false)),
        (
            &[&[&full, &other], &[&other, &full], &[&full]],
            "allowed",
            json!(true),
        ),
        (&[], "allowed", Value::Null),
    ] {
        let result = simulate(asked(levels)).unwrap()[0].clone();
        assert_eq!(result["EvalDecision"], expected);
        let detail = &result["OrganizationsDecisionDetail"];
        assert_eq!(detail["AllowedByOrganizations"], allowed);
    }
    let fault = |input: Value| simulate(input).unwrap_err().to_string();
    assert_eq!(
        fault(asked(&[&[&full][..]; 8])),
        "InvalidInput: 'orderedOrganizationPolicyInputList' has more than 7 members"
    );
    let broken = "{}".to_owned();
    let said = fault(asked(&[&[&full], &[&full, &broken]]));
    let place = "OrderedOrganizationPolicyInputList.2.ServiceControlPolicyInputList.2: ";
    assert!(said.starts_with(place), "{said}");
    let said = simulate_of(CALLER, asked(&[&[&full]])).unwrap_err();
    assert_eq!(
        said.to_string(),
        "--cli-input-json: OrderedOrganizationPolicyInputList goes with simulate-custom-policy"
    );
    // As an option.
    let allow = policy("Allow", json!({}));
    let level = format!("ServiceControlPolicyInputList='{other}'");
    let line = CustomLine::parse_from([
        "x",
        "--policy-input-list",
        &allow,
        "--action-names",
        "dsql:DbConnect",
        "--ordered-organization-policy-input-list",
        &level,
    ]);
    let results = custom(line.arguments).unwrap()["EvaluationResults"].clone();
    assert_eq!(results[0]["EvalDecision"], "implicitDeny");
}

#[test]
fn what_would_be_without_a_policy() {
    let by_arn = |arn: &str| json!([{"PolicyArn": arn}]);
    let inline = |kind: &str, name: &str| {
        json!([{"InlinePolicyIdentifier":
            {"PolicyName": "own", "AttachmentType": kind, "AttachmentName": name}}])
    };
    let connect = "arn:aws:iam::012345678912:policy/Conn*";
    for (source, excluded, expected) in [
        (CALLER, json!([]), ["allowed", "allowed"]),
        (CALLER, by_arn(connect), ["implicitDeny", "allowed"]),
        (CALLER, inline("user", "al*"), ["allowed", "implicitDeny"]),
        (CALLER, inline("group", "al*"), ["allowed", "allowed"]),
        (
            CALLER,
            json!([{"PolicyType": "user-managed"}, {"PolicyType": "inline"}]),
            ["implicitDeny", "implicitDeny"],
        ),
        // The given policies stay, and are still limited by a boundary.
        (
            ROLE,
            json!([{"PolicyType": "inline"}]),
            ["implicitDeny", "implicitDeny"],
        ),
        (
            ROLE,
            json!([{"PolicyType": "permission-boundary"}]),
            ["implicitDeny", "allowed"],
        ),
    ] {
        let mut input = json!({"ActionNames": ["dsql:DbConnect", "sts:AssumeRole"],
            "PolicyExclusionList": excluded});
        if source == ROLE {
            input["PolicyInputList"] =
                json!([policy("Allow", json!({"Action": "sts:AssumeRole"}))]);
        }
        let results = simulate_of(source, input).unwrap();
        let decided = [&results[0], &results[1]].map(|result| &result["EvalDecision"]);
        assert_eq!(decided, expected, "{source} {excluded}");
    }
    let refused = json!({"ActionNames": ["a:b"], "PolicyExclusionList": by_arn("Connect")});
    let said = simulate_of(CALLER, refused).unwrap_err().to_string();
    assert!(
        said.starts_with("InvalidInput: Connect is not the ARN"),
        "{said}"
    );
    let said = simulate(json!({"PolicyInputList": [policy("Allow", json!({}))],
        "ActionNames": ["a:b"], "PolicyExclusionList": [{"PolicyType": "scp"}]}));
    assert_eq!(
        said.unwrap_err().to_string(),
        "--cli-input-json: PolicyExclusionList goes with simulate-principal-policy"
    );
}

#[test]
fn the_policies_of_a_group() {
    let group = "arn:aws:iam::012345678912:group/staff";
    let mut input = json!({"ActionNames": ["dsql:DbConnect", "sts:AssumeRole"]});
    let results = simulate_of(group, input.clone()).unwrap();
    let decisions =
        |results: &Value| json!([results[0]["EvalDecision"], results[1]["EvalDecision"]]);
    assert_eq!(decisions(&results), json!(["allowed", "implicitDeny"]));
    let id = &results[0]["MatchedStatements"][0]["SourcePolicyId"];
    assert_eq!(id, "Connect");
    let results = simulate_of(CALLER, input.clone()).unwrap();
    assert_eq!(decisions(&results), json!(["allowed", "allowed"]));
    input["ResourcePolicy"] = policy("Allow", json!({"Principal": "*"})).into();
    input["ActionNames"] = json!(["dsql:DbConnect"]);
    // It is its own caller, whom a policy can name by its account or as everybody.
    assert_eq!(decision(simulate_of(group, input.clone())), "allowed");
    input["PolicyExclusionList"] = json!([{"PolicyType": "user-managed"}]);
    assert_eq!(decision(simulate_of(group, input.clone())), "allowed");
    let named = policy("Allow", json!({"Principal": {"AWS": CALLER}}));
    input["ResourcePolicy"] = named.into();
    assert_eq!(decision(simulate_of(group, input.clone())), "implicitDeny");
    input["CallerArn"] = CALLER.into();
    assert_eq!(decision(simulate_of(group, input)), "allowed");
}

#[test]
fn assuming_a_role_takes_its_trust_policy() {
    let trust = |principal: &str| {
        json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": principal}}})
        .to_string()
    };
    let closed = "arn:aws:iam::012345678912:role/Closed";
    let theirs = "arn:aws:iam::999999999999:role/Theirs";
    for (source, role, policy, expected) in [
        (CALLER, ROLE, None, "allowed"),
        (CALLER, closed, None, "implicitDeny"),
        (CALLER, closed, Some(trust(CALLER)), "allowed"),
        (CALLER, ROLE, Some(trust(OTHER)), "implicitDeny"),
        // In no document: what its trust policy says is not known.
        (CALLER, theirs, None, "allowed"),
        (CALLER, theirs, Some(trust("012345678912")), "allowed"),
        (CALLER, theirs, Some(trust(OTHER)), "implicitDeny"),
        // It trusts a service and nobody else.
        (ROLE, closed, None, "implicitDeny"),
    ] {
        let mut input = json!({"ActionNames": ["sts:assumerole"], "ResourceArns": [role]});
        if let Some(policy) = &policy {
            input["ResourcePolicy"] = policy.clone().into();
        }
        let decided = decision(simulate_of(source, input));
        assert_eq!(decided, expected, "{source} {role} {policy:?}");
    }
    // Of a policy that is given alone, too.
    let mut input = json!({
        "PolicyInputList": [policy("Allow", json!({"Action": "sts:*"}))],
        "ActionNames": ["sts:AssumeRole"], "ResourceArns": [ROLE],
        "CallerArn": CALLER, "ResourcePolicy": trust(OTHER),
    });
    assert_eq!(decision(simulate(input.clone())), "implicitDeny");
    input["ResourcePolicy"] = policy("Allow", json!({"Principal": "*"})).into();
    let fault = simulate(input).unwrap_err().to_string();
    assert_eq!(
        fault,
        "ResourcePolicy: Resource is not allowed in the trust policy of a role"
    );
}

#[test]
fn the_source_is_of_the_other_command() {
    let said = simulate(json!({"PolicyInputList": [policy("Allow", json!({}))],
        "ActionNames": ["a:b"], "PolicySourceArn": CALLER}));
    assert_eq!(
        said.unwrap_err().to_string(),
        "--cli-input-json: PolicySourceArn goes with simulate-principal-policy"
    );
}

#[test]
fn who_one_is_anybody_may_ask() {
    let results = simulate(json!({
        "PolicyInputList": [policy("Deny", json!({"Action": "*"}))],
        "ActionNames": ["sts:getcalleridentity", "sts:GetSessionToken"],
    }))
    .unwrap();
    assert_eq!(results[0]["EvalDecision"], "allowed");
    assert_eq!(results[0]["MatchedStatements"], json!([]));
    assert_eq!(results[1]["EvalDecision"], "explicitDeny");
}

#[test]
fn options_of_the_aws_cli_that_make_no_difference() {
    let allow = policy("Allow", json!({}));
    let line = |more: &[&str]| {
        let start = ["x", "--action-names", "dsql:DbConnect"];
        let all = start.into_iter().chain(["--policy-input-list", &allow]);
        CustomLine::try_parse_from(all.chain(more.iter().copied()))
    };
    let plain = custom(line(&[]).unwrap().arguments).unwrap();
    let more = [
        "--resource-handling-option",
        "EC2-VPC-EBS",
        "--max-items",
        "1",
        "--page-size",
        "1",
        "--starting-token",
        "x",
        "--no-paginate",
        "--output",
        "json",
        "--region",
        "eu-west-1",
        "--profile",
        "nobody",
    ];
    assert_eq!(custom(line(&more).unwrap().arguments).unwrap(), plain);
    assert!(line(&["--output", "text"]).is_err());
    let others = [
        "--query",
        "--no-cli-pager",
        "--generate-cli-skeleton",
        "--cli-input-yaml",
    ];
    for other in others {
        let Err(refused) = line(&[other]) else {
            panic!("{other}")
        };
        assert_eq!(
            refused.kind(),
            clap::error::ErrorKind::UnknownArgument,
            "{other}"
        );
    }
}

#[test]
fn what_takes_too_much_is_not_answered() {
    let condition = json!({"StringLike": {"v": vec![format!("*{}b", "a".repeat(1_900)); 30]}});
    let said = simulate(json!({
        "PolicyInputList": [policy("Allow", json!({"Condition": condition}))],
        "ActionNames": ["dsql:DbConnect"], "ResourceArns": [CLUSTER],
        "ContextEntries": [{"ContextKeyName": "v", "ContextKeyType": "string",
            "ContextKeyValues": ["a".repeat(12_000)]}],
    }));
    let fault =
        format!("dsql:DbConnect on {CLUSTER}: the policies take more work than one request may");
    assert_eq!(said.unwrap_err().to_string(), fault);
}

/// A misspelled action or resource would look like one that is denied.
#[test]
fn what_is_no_action_and_no_resource_is_refused() {
    let allow = policy("Allow", json!({}));
    let asked = |actions: Value, resources: Value| {
        let said = simulate(json!({"PolicyInputList": [allow], "ActionNames": actions,
            "ResourceArns": resources}));
        said.map_err(|fault| fault.to_string())
    };
    let long = format!("a:{}", "b".repeat(126));
    let too_long = format!("{long}b");
    let length = |list: &str| {
        format!(
            "ValidationError: 1 validation error detected: Value '[{list}]' at 'actionNames' \
             failed to satisfy constraint: Member must satisfy constraint: [Member must have \
             length less than or equal to 128, Member must have length greater than or equal to 3]"
        )
    };
    let no_service = |action: &str| {
        let example = "as in iam:CreateUser";
        format!("InvalidInput: {action} does not include the service identifier, {example}")
    };
    let wildcard = |action: &str| {
        format!("InvalidInput: {action} has a wildcard, which an action to simulate cannot have")
    };
    for (actions, fault) in [
        (json!(["DbConnect"]), no_service("DbConnect")),
        (
            json!(["dsql:DbConnect", ":DbConnect"]),
            no_service(":DbConnect"),
        ),
        (json!(["dsql:"]), no_service("dsql:")),
        (json!(["dsql:*"]), wildcard("dsql:*")),
        (json!(["dsql:DbConnec?"]), wildcard("dsql:DbConnec?")),
        (json!(["dsql:DbConnect", "*"]), length("dsql:DbConnect, *")),
        (json!([""]), length("")),
        (json!([too_long]), length(&too_long)),
    ] {
        assert_eq!(asked(actions, json!([])), Err(fault));
    }
    for resource in [
        "cluster/abc",
        "",
        "**",
        "arn:aws:dsql:us-east-1:012345678912",
        "arn:aws:dsql:us-east-1:012345678912:",
        "arn::dsql:us-east-1:012345678912:cluster/abc",
        "arn:aws::us-east-1:012345678912:cluster/abc",
        "ARN:aws:dsql:us-east-1:012345678912:cluster/abc",
    ] {
        let fault =
            format!("InvalidInput: ResourceNames are not in a valid ARN format: {resource}.");
        let said = asked(json!(["dsql:DbConnect"]), json!([CLUSTER, resource]));
        assert_eq!(said.unwrap_err(), fault);
        // Of a principal's policies too.
        let input = json!({"ActionNames": ["dsql:DbConnect"], "ResourceArns": [resource]});
        assert_eq!(simulate_of(CALLER, input).unwrap_err().to_string(), fault);
    }
    for resource in [
        "*",
        "arn:aws:s3:::bucket/*",
        "arn:aws:lambda:us-east-1:1:function:f:1",
    ] {
        assert!(
            asked(json!([long, "a:b"]), json!([resource])).is_ok(),
            "{resource}"
        );
    }
}

#[test]
fn faults_are_named() {
    let asked = |more: Value| {
        let mut input = json!({"PolicyInputList": [policy("Allow", json!({}))],
            "ActionNames": ["a:b"]});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let entry = |values: Value, kind: &str| {
        asked(json!({"ContextEntries": [{"ContextKeyName": "a:b",
            "ContextKeyValues": values, "ContextKeyType": kind}]}))
    };
    let resource = policy("Allow", json!({"Principal": "*"}));
    for (input, fault) in [
        (
            json!({"PolicyInputList": ["{}"], "ActionNames": ["a:b"]}),
            "PolicyInputList.1: missing field `Statement` at line 1 column 2",
        ),
        (
            json!({"PolicyInputList": ["p.json"], "ActionNames": ["a:b"]}),
            "PolicyInputList.1: expected value at line 1 column 1; a policy is JSON, or file://PATH",
        ),
        (
            json!({"PolicyInputList": ["\u{feff}{}"], "ActionNames": ["a:b"]}),
            "PolicyInputList.1: it starts with a byte order mark, which JSON does not have",
        ),
        (
            json!({"PolicyInputList": [policy("Allow", json!({}))]}),
            "--action-names is needed",
        ),
        (
            json!({"ActionNames": ["a:b"]}),
            "--policy-input-list is needed",
        ),
        (
            json!({"Nonsense": 1}),
            "--cli-input-json: unknown field `Nonsense`",
        ),
        (
            asked(json!({"CallerArn": "arn:aws:iam::012345678912:root"})),
            "--caller-arn: arn:aws:iam::012345678912:root is not the ARN of a user",
        ),
        (
            asked(json!({"ResourcePolicy": resource})),
            "--caller-arn is needed with --resource-policy",
        ),
        (
            asked(json!({"ResourceOwner": "me"})),
            "--resource-owner: me is not an account",
        ),
        (
            entry(json!(["x"]), "numeric"),
            "--context-entries: \"x\" for a:b is not of type numeric",
        ),
        (
            entry(json!(["x", "y"]), "string"),
            "--context-entries: a:b must have exactly one value: its ContextKeyType is not a list",
        ),
        (
            entry(json!(["x"]), "text"),
            "--context-entries: unknown ContextKeyType \"text\"",
        ),
    ] {
        let said = simulate(input).unwrap_err().to_string();
        assert!(said.starts_with(fault), "{said}");
    }
    for (source, fault) in [
        (SESSION, "is not the ARN of a user, a group or a role"),
        (
            "arn:aws:iam::012345678912:group/none",
            "is in no document of",
        ),
        (
            "arn:aws:iam::012345678912:user/none",
            "is in no document of",
        ),
    ] {
        let asked = json!({"ActionNames": ["a:b"]});
        let said = simulate_of(source, asked).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{source} {fault}")), "{said}");
    }
}
