use super::error::MAX_STATEMENTS;
use super::*;
use serde_json::{Value, json};

const CLUSTER: &str = "arn:aws:dsql:us-east-1:012345678912:cluster/abcdefghijklmnopqrstuvwxyz";
const USER: RequestPrincipal<'_> = RequestPrincipal {
    arn: "arn:aws:iam::012345678912:user/alice",
    role_arn: None,
    unique_id: None,
};

/// The effects of the statements that apply.
fn effects(statement: Value) -> Vec<Effect> {
    let document = json!({"Version": "2012-10-17", "Statement": statement});
    let policy: Policy = serde_json::from_value(document).unwrap();
    let mut context = Context::default();
    context.set("aws:PrincipalTag/cluster", "abcdefghijklmnopqrstuvwxyz");
    context.set("aws:SourceIp", "10.0.0.1");
    let request = EvaluationRequest::new("dsql:DbConnect", CLUSTER, &context, USER, false);
    let applies = |statement: &&Statement| {
        statement.apply(&request, &mut Evaluation::default())
            == Ok(PrincipalMatch::RequestPrincipal)
    };
    let statements = policy.statements().iter().filter(applies);
    statements.map(Statement::effect).collect()
}

#[test]
fn actions_match_without_case_and_with_wildcards() {
    for (action, applies) in [
        ("dsql:DbConnect", true),
        ("DSQL:dbconnect", true),
        ("dsql:*", true),
        ("dsql:Db?onnect", true),
        ("*", true),
        ("*:*", true),
        ("dsql:DbConnectAdmin", false),
        ("dsql:DbConnect?", false),
        ("rds-db:connect", false),
    ] {
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": "*"});
        assert_eq!(!effects(statement).is_empty(), applies, "{action}");
    }
}

#[test]
fn resources_match_with_case_and_with_wildcards() {
    for (resource, applies) in [
        (CLUSTER, true),
        ("*", true),
        ("arn:aws:dsql:us-east-1:012345678912:cluster/*", true),
        ("arn:aws:dsql:*:*:cluster/*", true),
        ("arn:*:dsql:*:*:*", true),
        ("arn:aws:dsql:*", true),
        ("arn:aws:dsql", true),
        ("arn:aws:s3:*", false),
        ("arn:aws:dsql:us-east-1:012345678912:CLUSTER/*", false),
        ("arn:aws:dsql:us-west-2:012345678912:cluster/*", false),
        (
            "arn:aws:dsql:us-east-1:*/abcdefghijklmnopqrstuvwxyz:x",
            false,
        ),
        ("arn:aws:dsql:*:*:cluster/${aws:PrincipalTag/Cluster}", true),
        (
            "arn:aws:dsql:*:*:cluster/${aws:PrincipalTag/other, '*'}",
            false,
        ),
        ("arn:aws:dsql:*:*:cluster/${*}", false),
    ] {
        let statement = json!({"Effect": "Allow", "Action": "dsql:*", "Resource": resource});
        assert_eq!(!effects(statement).is_empty(), applies, "{resource}");
    }
}

#[test]
fn negated_elements() {
    let deny = |element: &str, value: Value| {
        let mut statement = json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
        let plain = element.trim_start_matches("Not");
        statement.as_object_mut().unwrap().remove(plain);
        statement[element] = value;
        !effects(statement).is_empty()
    };
    assert!(deny("NotAction", json!("dsql:DbConnectAdmin")));
    assert!(!deny("NotAction", json!(["s3:*", "dsql:*"])));
    assert!(!deny("NotResource", json!(CLUSTER)));
    assert!(deny("NotResource", json!("arn:aws:s3:::x")));
}

#[test]
fn a_variable_without_a_value_matches_no_resource() {
    let variable = "arn:aws:dsql:*:*:cluster/${aws:PrincipalTag/other}";
    for (effect, element, applies) in [
        ("Allow", "Resource", false),
        ("Deny", "Resource", false),
        // To allow all but what cannot be named would let in too many.
        ("Allow", "NotResource", false),
        ("Deny", "NotResource", true),
    ] {
        let statement = json!({"Effect": effect, "Action": "*", element: variable});
        assert_eq!(
            !effects(statement).is_empty(),
            applies,
            "{effect} {element}"
        );
    }
    // Version 2008-10-17 has none.
    let document = json!({"Statement": {"Effect": "Allow", "Action": "*",
        "Resource": "arn:aws:dsql:*:*:cluster/${aws:PrincipalTag/cluster}",
        "Condition": {"StringEquals": {"a": "${"}}}});
    let policy: Policy = serde_json::from_value(document).unwrap();
    let context = Context::default();
    let literal = "arn:aws:dsql:a:b:cluster/${aws:PrincipalTag/cluster}";
    let request = EvaluationRequest::new("a:b", literal, &context, USER, false);
    assert!(policy.statements()[0].fits_resource(&request, &mut Evaluation::default()) == Ok(true));
}

/// AWS documents variables behind the fifth colon only. Here they are filled in anywhere.
#[test]
fn a_variable_before_the_fifth_colon_is_filled_in() {
    for (resource, applies) in [
        (
            "arn:aws:dsql:${aws:RequestedRegion}:012345678912:cluster/*",
            true,
        ),
        ("arn:aws:dsql:*:${aws:PrincipalAccount}:cluster/*", true),
        ("arn:aws:${aws:RequestedRegion}:*:*:cluster/*", false),
        ("arn:aws:dsql:${aws:PrincipalTag/none}:*:cluster/*", false),
        (
            "arn:aws:dsql:${aws:PrincipalTag/none, 'us-east-1'}:*:cluster/*",
            true,
        ),
        // The value of a variable has no wildcards, there as well.
        ("arn:aws:dsql:${aws:PrincipalTag/star}:*:cluster/*", false),
    ] {
        let document = json!({"Version": "2012-10-17", "Statement":
            {"Effect": "Allow", "Action": "*", "Resource": resource}});
        let policy: Policy = serde_json::from_value(document).unwrap();
        let mut context = Context::default();
        context.set("aws:RequestedRegion", "us-east-1");
        context.set("aws:PrincipalAccount", "012345678912");
        context.set("aws:PrincipalTag/star", "*");
        let request = EvaluationRequest::new("dsql:DbConnect", CLUSTER, &context, USER, false);
        let principal_match = policy.statements()[0].apply(&request, &mut Evaluation::default());
        assert_eq!(
            principal_match == Ok(PrincipalMatch::RequestPrincipal),
            applies,
            "{resource}"
        );
    }
}

#[test]
fn all_conditions_have_to_hold() {
    let with = |condition: Value| {
        let statement =
            json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
        !effects(statement).is_empty()
    };
    let near = json!({"aws:sourceip": ["192.168.0.0/16", "10.0.0.0/8"]});
    let tagged = json!({"aws:PrincipalTag/cluster": "abc*", "aws:SourceIp": "*"});
    assert!(with(json!({"IpAddress": near, "StringLike": tagged})));
    assert!(!with(json!({"NotIpAddress": near, "StringLike": tagged})));
    assert!(!with(json!({"IpAddress": near, "StringEquals": tagged})));
    assert!(with(
        json!({"Null": {"aws:SourceIp": false}, "NumericLessThanIfExists": {"x:y": 5.5}})
    ));
    assert!(with(json!({})));
}

#[test]
fn a_document_with_a_fault_is_refused_and_the_fault_named() {
    let ok = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let with = |key: &str, value: Value| {
        let mut statement = ok.clone();
        statement[key] = value;
        json!({"Version": "2012-10-17", "Statement": statement})
    };
    let condition = |value: Value| with("Condition", value);
    for (document, fault) in [
        (
            json!({"Version": "2020-01-01", "Statement": ok}),
            "Version is \"2020-01-01\"",
        ),
        (
            json!({"Version": "2012-10-17"}),
            "missing field `Statement`",
        ),
        (with("Efect", json!("Allow")), "unknown field `Efect`"),
        (
            with("Effect", json!("allow")),
            "Effect is \"allow\", neither Allow nor Deny",
        ),
        (with("NotAction", json!("*")), "both Action and NotAction"),
        (with("Action", json!([])), "Action is an empty list"),
        (with("Action", json!(7)), "invalid type"),
        (
            with("Action", json!("DbConnect")),
            "Action \"DbConnect\" is neither",
        ),
        (
            with("Resource", json!("cluster/x")),
            "Resource \"cluster/x\" is neither",
        ),
        (
            with("Resource", json!("a".repeat(3000))),
            "more than 2048 characters",
        ),
        (
            with("Resource", json!("arn:aws:s3:::${aws:x")),
            "malformed variable",
        ),
        (
            with("Principal", json!("*")),
            "Principal is not allowed in a policy of this kind",
        ),
        (condition(json!("x")), "invalid type"),
        (
            condition(json!({"StringEqual": {"a": "b"}})),
            "unknown condition operator \"StringEqual\"",
        ),
        (
            condition(json!({"StringLike": {"a": "b"}, "stringlike": {"c": "d"}})),
            "duplicate condition operator ",
        ),
        (
            condition(json!({"StringLike": {"aws:a": "b", "AWS:A": "d"}})),
            "duplicate condition key aws:a under StringLike",
        ),
        (
            condition(json!({"StringLike": {"a": vec!["b".repeat(2000); 40]}})),
            "too many characters",
        ),
        (condition(json!({"StringLike": {"": "b"}})), "key is empty"),
        (
            condition(json!({"Bool": {"a": "yes"}})),
            "\"yes\" for a is not true or false",
        ),
        (condition(json!({"Bool": {"a": null}})), "invalid type"),
        (
            json!({"Statement": [{"Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Sid": "A", "Effect": "Deny", "Action": "*", "Resource": "*"}]}),
            "duplicate Sid \"A\"",
        ),
        (with("Sid", json!("a b")), "not of letters and digits"),
        (
            json!({"Statement": vec![ok.clone(); MAX_STATEMENTS + 1]}),
            "more than 1000 statements",
        ),
        (
            with(
                "Action",
                json!(vec![format!("a:{}", "b".repeat(2000)); 600]),
            ),
            "too many characters",
        ),
    ] {
        let error = serde_json::from_value::<Policy>(document.clone()).unwrap_err();
        assert!(error.to_string().contains(fault), "{document}: {error}");
    }
}

/// As text, since a JSON value cannot hold a member twice.
#[test]
fn what_no_grammar_of_policies_has_is_refused_in_words_that_are_not_rusts() {
    let in_statement = |more: &str| {
        format!(r#"{{"Statement":{{"Effect":"Deny","Action":"*","Resource":"*"{more}}}}}"#)
    };
    let null = "a member is null; it has a value, or is not there";
    let mut rows: Vec<(String, String)> = [
        "Sid",
        "Principal",
        "NotPrincipal",
        "NotAction",
        "NotResource",
        "Condition",
    ]
    .map(|member| {
        (
            in_statement(&format!(r#","{member}":null"#)),
            null.to_owned(),
        )
    })
    .to_vec();
    let twice = |member: &str, value: &str| {
        let member = format!(r#","{member}":{value}"#);
        in_statement(&member.repeat(2))
    };
    for (text, fault) in [
        (r#"{"Version":null,"Statement":[]}"#, null),
        (r#"{"Id":null,"Statement":[]}"#, null),
        (
            r#"{"Statement":null}"#,
            "invalid type: null, expected one element or a list of them",
        ),
        (
            r#"["2012-10-17",null,[]]"#,
            "invalid type: array, expected an object: a policy document",
        ),
        (
            "null",
            "invalid type: null, expected an object: a policy document",
        ),
        (
            r#"{"Statement":[[null,"Allow",null,null,"dsql:*",null,"*",null,null]]}"#,
            "invalid type: array, expected an object: a statement",
        ),
        (
            r#"{"Statement":"x"}"#,
            "invalid type: string \"x\", expected an object: a statement",
        ),
        (
            r#"{"Statement":{"Effect":{"Allow":null},"Action":"*","Resource":"*"}}"#,
            "invalid type: object, expected a string",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":{"Fn::Sub":"arn:aws:dsql:*"}}}"#,
            "\"Fn::Sub\" is a function of a template, which was not evaluated; dsql-iam import reads",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":[{"Ref":"Cluster"}]}}"#,
            "\"Ref\" is a function of a template",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":{"a":1}}}"#,
            "invalid type: object, expected a string",
        ),
        (
            &in_statement(r#","Condition":{"StringEquals":{"a":{"Fn::Join":["",[]]}}}"#),
            "\"Fn::Join\" is a function of a template",
        ),
        (
            &in_statement(r#","Condition":{"StringEquals":{"a":"${AWS::AccountId}"}}"#),
            "a condition \"${AWS::AccountId}\" holds ${AWS::AccountId}, a variable of a template",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:${AWS::Partition}:dsql:*"}}"#,
            "Resource \"arn:${AWS::Partition}:dsql:*\" holds ${AWS::Partition}, a variable of a \
             template, which was not filled in; dsql-iam import reads templates",
        ),
        (
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*",
                "NotResource":["*","arn:aws:dsql:*:*:cluster/${aws_dsql_cluster.main.identifier}"]}}"#,
            "Resource \"arn:aws:dsql:*:*:cluster/${aws_dsql_cluster.main.identifier}\" holds \
             ${aws_dsql_cluster.main.identifier}, a variable of a template",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"${aws_dsql_cluster.main.arn}"}}"#,
            "Resource \"${aws_dsql_cluster.main.arn}\" holds ${aws_dsql_cluster.main.arn}, a variable",
        ),
        (
            &in_statement(r#","Condition":[["StringEquals",{"a":"b"}]]"#),
            "invalid type: array, expected an object",
        ),
        (&twice("Condition", "{}"), "duplicate field `Condition`"),
        (&twice("Sid", "\"A\""), "duplicate field `Sid`"),
        (
            r#"{"Statement":[],"Statement":[]}"#,
            "duplicate field `Statement`",
        ),
        (
            &in_statement(r#","Condition":{"Bool":{"a":"true"},"Bool":{"b":"true"}}"#),
            "duplicate condition operator Bool",
        ),
        (
            "\u{feff}{\"Statement\":[]}",
            "it starts with a byte order mark, which JSON does not have",
        ),
    ] {
        rows.push((text.to_owned(), fault.to_owned()));
    }
    for (text, fault) in rows {
        let said = Policy::parse(&text, Kind::IdentityBased)
            .unwrap_err()
            .to_string();
        assert!(said.starts_with(&fault), "{text}: {said}");
        assert!(!said.contains("struct"), "{said}");
        // As text in another document, which is how the API sends it.
        let said = serde_json::from_value::<Policy>(json!(text)).unwrap_err();
        assert!(said.to_string().contains(&fault), "{text}: {said}");
    }
    for kind in [
        r#"{"AWS":null}"#,
        r#"{"AWS":"012345678912","Federated":null}"#,
        r#"{"Service":null,"CanonicalUser":"x"}"#,
    ] {
        let text = in_statement(&format!(r#","Principal":{kind}"#));
        let said = Policy::parse(&text, Kind::ResourceBased)
            .unwrap_err()
            .to_string();
        assert!(said.starts_with(null), "{kind}: {said}");
    }
    let twice = in_statement(r#","Principal":{"AWS":"012345678912","AWS":"*"}"#);
    let said = Policy::parse(&twice, Kind::ResourceBased)
        .unwrap_err()
        .to_string();
    assert!(said.starts_with("duplicate field `AWS`"), "{said}");
}

#[test]
fn each_kind_of_policy_has_what_it_has_to_have() {
    let parse = |statement: Value, kind| {
        let document = json!({"Version": "2012-10-17", "Statement": statement});
        Policy::parse(&document.to_string(), kind)
    };
    let resource_based =
        json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
    let trust = json!({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole"});
    let others = json!({"Effect": "Deny", "NotPrincipal": "*", "Action": "*", "Resource": "*"});
    let allow_others =
        json!({"Effect": "Allow", "NotPrincipal": "*", "Action": "*", "Resource": "*"});
    let both = json!({"Effect": "Deny", "NotPrincipal": "*", "Principal": "*", "Action": "*",
        "Resource": "*"});
    let none = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    for (statement, identity_based, is_resource_based, is_trust) in [
        (resource_based, false, true, false),
        (trust, false, false, true),
        (others, false, true, false),
        (allow_others, false, false, false),
        (both, false, false, false),
        (none, true, false, false),
    ] {
        for (kind, is_ok) in [
            (Kind::IdentityBased, identity_based),
            (Kind::ServiceControl, identity_based),
            (Kind::ResourceBased, is_resource_based),
            (Kind::Trust, is_trust),
        ] {
            let result = parse(statement.clone(), kind);
            assert_eq!(result.is_ok(), is_ok, "{kind:?} {statement}");
        }
    }
}

#[test]
fn a_document_as_the_api_sends_it() {
    let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22dsql%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
    let policy: Policy = serde_json::from_value(json!(encoded)).unwrap();
    assert_eq!(policy.statements().len(), 1);
}
