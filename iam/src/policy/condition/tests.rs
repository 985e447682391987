use super::*;

fn context() -> Context {
    let mut context = Context::default();
    for (key, value) in [
        ("s", "Abc"),
        ("n", "10"),
        ("d", "2024-06-01T12:00:00Z"),
        ("e", "1717243200"),
        ("b", "true"),
        ("x", "aGk="),
        ("ip", "10.1.2.3"),
        ("ip6", "2001:db8::1"),
        ("arn", "arn:aws:iam::012345678912:role/a/B"),
        ("empty", ""),
        ("tag", "abc*"),
    ] {
        context.set(key, value);
    }
    context.set_all("many", vec!["a".into(), "b".into()]);
    context.set_all("none", Vec::new());
    context
}

fn holds(operator: &str, key: &str, values: &[&str]) -> bool {
    let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
    let operator = Operator::named(operator).unwrap_or_else(|| panic!("{operator}"));
    let condition = Condition::new(operator, key, &values, true).unwrap();
    condition.holds(&context(), &mut Evaluation::default()) == Ok(true)
}

#[test]
fn each_comparison() {
    for (operator, key, value) in [
        ("StringEquals", "S", "Abc"),
        ("stringequals", "s", "Abc"),
        ("StringNotEquals", "s", "abc"),
        ("StringEqualsIgnoreCase", "s", "aBC"),
        ("StringNotEqualsIgnoreCase", "s", "abd"),
        ("StringLike", "s", "A*"),
        ("StringNotLike", "s", "a*"),
        ("StringLike", "tag", "abc${*}"),
        ("StringNotLike", "s", "Ab${*}"),
        ("StringEquals", "tag", "abc*"),
        ("StringNotEquals", "s", "A*"),
        ("StringLike", "tag", "${tag}"),
        ("NumericEquals", "n", "10.0"),
        ("NumericNotEquals", "n", "11"),
        ("NumericLessThan", "n", "10.5"),
        ("NumericLessThanEquals", "n", "10"),
        ("NumericGreaterThan", "n", "-3"),
        ("NumericGreaterThanEquals", "n", "10"),
        ("DateEquals", "d", "2024-06-01T14:00:00+02:00"),
        ("DateEquals", "d", "1717243200"),
        ("DateEquals", "e", "2024-06-01T12:00Z"),
        ("DateNotEquals", "d", "2024-06-01"),
        ("DateLessThan", "d", "2025"),
        ("DateLessThanEquals", "d", "2024-06-01T12:00:00.000Z"),
        ("DateGreaterThan", "d", "2024-06"),
        ("DateGreaterThanEquals", "d", "2024-06-01T12:00:00"),
        ("Bool", "b", "True"),
        ("BinaryEquals", "x", "aGk="),
        ("IpAddress", "ip", "10.0.0.0/8"),
        ("IpAddress", "ip", "10.1.2.3"),
        ("IpAddress", "ip", "10.9.9.9/8"),
        ("IpAddress", "ip6", "2001:DB8::/32"),
        ("NotIpAddress", "ip", "10.2.0.0/16"),
        ("NotIpAddress", "ip6", "0.0.0.0/0"),
        ("ArnEquals", "arn", "arn:aws:iam::*:role/a/*"),
        ("ArnLike", "arn", "arn:*:iam::012345678912:role/a/?"),
        ("ArnNotEquals", "arn", "arn:aws:iam::*:role/b"),
        ("ArnNotLike", "arn", "arn:*:role/a/B"),
        ("Null", "nothing", "true"),
        ("Null", "s", "false"),
    ] {
        assert!(holds(operator, key, &[value]), "{operator} {key} {value}");
    }
    for (operator, key, value) in [
        ("StringEquals", "s", "abc"),
        ("StringEquals", "s", "A*"),
        ("StringLike", "s", "${tag}"),
        ("NumericEquals", "s", "10"),
        ("NumericLessThan", "n", "10"),
        ("DateLessThan", "s", "2025"),
        ("Bool", "s", "false"),
        ("BinaryEquals", "x", "aGo="),
        ("IpAddress", "s", "0.0.0.0/0"),
        ("IpAddress", "ip", "11.0.0.0/8"),
        ("ArnLike", "arn", "arn:aws:*:role/a/B"),
        ("ArnLike", "s", "arn:*:*:*:*:*"),
        ("Null", "s", "true"),
        ("Null", "nothing", "false"),
        ("NumericEquals", "n", "${n}"),
    ] {
        assert!(!holds(operator, key, &[value]), "{operator} {key} {value}");
    }
    // A variable in a Bool, as AWS has it.
    assert!(holds("Bool", "b", &["${b}"]));
}

#[test]
fn a_key_that_is_not_there() {
    for (operator, expected) in [
        ("StringEquals", false),
        ("StringNotEquals", true),
        ("StringNotLike", true),
        ("NumericNotEquals", true),
        ("NumericLessThan", false),
        ("DateNotEquals", true),
        ("DateGreaterThan", false),
        ("Bool", false),
        ("BinaryEquals", false),
        ("IpAddress", false),
        ("NotIpAddress", true),
        ("ArnLike", false),
        ("ArnNotLike", true),
        ("StringEqualsIfExists", true),
        ("StringNotEqualsIfExists", true),
        ("BoolIfExists", true),
        ("ForAllValues:StringEquals", true),
        ("ForAllValues:StringNotEquals", true),
        ("ForAnyValue:StringEquals", false),
        ("ForAnyValue:StringNotEquals", false),
        ("ForAnyValue:StringEqualsIfExists", true),
    ] {
        let value = match operator {
            o if o.starts_with("Num") => "1",
            o if o.starts_with("Date") => "2024",
            o if o.starts_with("Bool") => "true",
            o if o.contains("Ip") => "10.0.0.1",
            _ => "abcd",
        };
        for key in ["nothing", "none"] {
            assert_eq!(holds(operator, key, &[value]), expected, "{operator} {key}");
        }
    }
}

#[test]
fn several_values_on_either_side() {
    for (operator, key, values, expected) in [
        ("StringEquals", "s", &["x", "Abc"][..], true),
        ("StringNotEquals", "s", &["x", "Abc"], false),
        ("StringNotEquals", "s", &["x", "y"], true),
        ("StringEquals", "s", &[], false),
        ("StringNotEquals", "s", &[], true),
        ("ForAllValues:StringEquals", "many", &["a", "b", "c"], true),
        ("ForAllValues:StringEquals", "many", &["a"], false),
        ("ForAllValues:StringEquals", "empty", &["a"], true),
        ("ForAnyValue:StringEquals", "empty", &[""], false),
        ("ForAnyValue:StringNotEquals", "empty", &["a"], false),
        ("ForAllValues:StringNotEquals", "many", &["a"], false),
        ("ForAllValues:StringNotEquals", "many", &["c"], true),
        ("ForAnyValue:StringEquals", "many", &["b", "c"], true),
        ("ForAnyValue:StringEquals", "many", &["c"], false),
        ("ForAnyValue:StringNotEquals", "many", &["a"], true),
        ("ForAnyValue:StringNotEquals", "many", &["a", "b"], false),
        ("ForAllValues:StringLike", "many", &["?"], true),
        ("Null", "empty", &["true"], true),
        ("Null", "s", &["true", "false"], true),
    ] {
        assert_eq!(
            holds(operator, key, values),
            expected,
            "{operator} {values:?}"
        );
    }
}

/// AWS does not say what these do. Here one of the values has to match, and none for what is negated.
#[test]
fn an_operator_without_a_quantifier_on_several_values() {
    for (operator, key, value, expected) in [
        ("StringEquals", "many", "a", true),
        ("StringEquals", "many", "b", true),
        ("StringEquals", "many", "c", false),
        ("StringNotEquals", "many", "a", false),
        ("StringNotEquals", "many", "b", false),
        ("StringNotEquals", "many", "c", true),
        ("StringLike", "many", "?", true),
        ("StringNotLike", "many", "b*", false),
        ("StringEqualsIfExists", "many", "c", false),
        ("Null", "many", "false", true),
    ] {
        let held = holds(operator, key, &[value]);
        assert_eq!(held, expected, "{operator} {value}");
    }
}

#[test]
fn a_variable_without_a_value_equals_nothing() {
    assert!(!holds("StringEquals", "s", &["${nothing}"]));
    assert!(!holds("StringLike", "s", &["*${nothing}"]));
    assert!(holds("StringNotEquals", "s", &["${nothing}"]));
    assert!(!holds("StringNotEquals", "s", &["${nothing}", "Abc"]));
    assert!(holds("StringEquals", "s", &["${nothing, 'Abc'}"]));
}

/// AWS lists the keys that are needed and not there: all of them, and not the first.
#[test]
fn what_a_variable_needs_is_missed_even_without_the_key_itself() {
    let missed = |operator: &str, key: &str, value: &str| {
        let operator = Operator::named(operator).unwrap();
        let condition = Condition::new(operator, key, &[value.to_owned()], true).unwrap();
        let mut evaluation = Evaluation::default();
        condition.holds(&context(), &mut evaluation).unwrap();
        let missed = evaluation.take_missing().into_values();
        missed.collect::<Vec<_>>()
    };
    let variables = "${aws:username}${s}${aws:userid, 'x'}";
    let both = ["aws:userid", "aws:username"];
    for operator in [
        "StringEquals",
        "StringNotLike",
        "StringEqualsIfExists",
        "ArnLike",
    ] {
        assert_eq!(missed(operator, "s", variables), both, "{operator}");
        let all = ["aws:userid", "aws:username", "nothing"];
        assert_eq!(missed(operator, "nothing", variables), all, "{operator}");
    }
    assert_eq!(missed("StringEquals", "nothing", "${s}"), ["nothing"]);
    assert_eq!(missed("StringEquals", "s", "${s}"), [""; 0]);
}

#[test]
fn each_value_is_a_step_and_so_is_what_is_not_there() {
    let spent = |operator: &str, key: &str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        let operator = Operator::named(operator).unwrap();
        let condition = Condition::new(operator, key, &values, true).unwrap();
        let mut evaluation = Evaluation::default();
        condition.holds(&context(), &mut evaluation).unwrap();
        evaluation.budget.spent()
    };
    assert_eq!(spent("StringEquals", "nothing", &[]), 1);
    assert_eq!(spent("StringEquals", "nothing", &["${s}${no one}"]), 3);
    assert_eq!(spent("Null", "nothing", &["true"]), 1);
    assert_eq!(spent("Null", "many", &["true"]), 3);
    assert_eq!(spent("StringEquals", "many", &[]), 3);
    // Two values, the policy's one beside them, and two variables without a value.
    assert_eq!(spent("StringLike", "many", &["${nothing}${no one}"]), 8);
}

#[test]
fn what_is_no_operator() {
    for name in [
        "",
        "StringEqual",
        "NullIfExists",
        "ForAllValues:Null",
        "ForSomeValues:StringEquals",
        "StringEqualsIfExistsIfExists",
        "ForAllValues:",
        "IfExists",
        "DateLike",
        "StringEquals ",
    ] {
        assert_eq!(Operator::named(name), None, "{name}");
    }
}

#[test]
fn what_an_operator_cannot_compare_with_is_an_error() {
    for (operator, value) in [
        ("NumericEquals", "ten"),
        ("NumericEquals", "inf"),
        ("NumericEquals", "NaN"),
        ("NumericEquals", ""),
        ("DateEquals", "tomorrow"),
        ("DateEquals", "2024-13-01"),
        ("DateEquals", "2024-01-01T"),
        ("DateEquals", ""),
        ("DateEquals", "2024-01-01T00:00:00+é:00"),
        ("Bool", "yes"),
        ("Null", "maybe"),
        ("Null", "${b}"),
        ("BinaryEquals", "not base64!"),
        ("IpAddress", "10.0.0.0/33"),
        ("IpAddress", "10.0.0"),
        ("IpAddress", "10.0.0.*"),
        ("StringEquals", "${"),
    ] {
        let named = Operator::named(operator).unwrap();
        let result = Condition::new(named, "k", &[value.to_owned()], true);
        assert!(result.is_err(), "{operator} {value}");
    }
    // Where there are no variables, a dollar is a dollar.
    let named = Operator::named("StringEquals").unwrap();
    assert!(Condition::new(named, "k", &["${".to_owned()], false).is_ok());
}
