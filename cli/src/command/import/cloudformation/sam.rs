//! Expands SAM's functions and state machines, as far as policies go: a role for each that names none.
//!
//! Follows
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources.html>.

use super::stack::{Resource, SAM, Stack};
use crate::command::import::managed_policies;
use crate::command::import::value::Value;

/// The policy templates of SAM. None of them names `dsql:`, and none denies: they have no say in a login.
const TEMPLATES: &str = "AcmGetCertificatePolicy AMIDescribePolicy AthenaQueryPolicy \
    AWSSecretsManagerGetSecretValuePolicy AWSSecretsManagerRotationPolicy \
    CloudFormationDescribeStacksPolicy CloudWatchDashboardPolicy CloudWatchDescribeAlarmHistoryPolicy \
    CloudWatchPutMetricPolicy CodeCommitCrudPolicy CodeCommitReadPolicy CodePipelineLambdaExecutionPolicy \
    CodePipelineReadOnlyPolicy ComprehendBasicAccessPolicy CostExplorerReadOnlyPolicy DynamoDBBackupFullAccessPolicy \
    DynamoDBCrudPolicy DynamoDBReadPolicy DynamoDBReconfigurePolicy DynamoDBRestoreFromBackupPolicy \
    DynamoDBStreamReadPolicy DynamoDBWritePolicy EC2CopyImagePolicy EC2DescribePolicy EcsRunTaskPolicy \
    EFSWriteAccessPolicy EKSDescribePolicy ElasticMapReduceAddJobFlowStepsPolicy \
    ElasticMapReduceCancelStepsPolicy ElasticMapReduceModifyInstanceFleetPolicy \
    ElasticMapReduceModifyInstanceGroupsPolicy ElasticMapReduceSetTerminationProtectionPolicy \
    ElasticMapReduceTerminateJobFlowsPolicy ElasticsearchHttpPostPolicy EventBridgePutEventsPolicy \
    FilterLogEventsPolicy FirehoseCrudPolicy FirehoseWritePolicy KinesisCrudPolicy KinesisStreamReadPolicy \
    KMSDecryptPolicy KMSEncryptPolicy LambdaInvokePolicy MobileAnalyticsWriteOnlyAccessPolicy \
    OrganizationsListAccountsPolicy PinpointEndpointAccessPolicy PollyFullAccessPolicy \
    RekognitionDetectOnlyPolicy RekognitionFacesManagementPolicy RekognitionFacesPolicy \
    RekognitionLabelsPolicy RekognitionNoDataAccessPolicy RekognitionReadPolicy RekognitionWriteOnlyAccessPolicy \
    Route53ChangeResourceRecordSetsPolicy S3CrudPolicy S3FullAccessPolicy S3ReadPolicy S3WritePolicy \
    SageMakerCreateEndpointConfigPolicy SageMakerCreateEndpointPolicy ServerlessRepoReadWriteAccessPolicy \
    SESBulkTemplatedCrudPolicy SESBulkTemplatedCrudPolicy_v2 SESCrudPolicy SESEmailTemplateCrudPolicy \
    SESSendBouncePolicy SNSCrudPolicy SNSPublishMessagePolicy SQSPollerPolicy SQSSendMessagePolicy \
    SSMParameterReadPolicy SSMParameterWithSlashPrefixReadPolicy StepFunctionsExecutionPolicy \
    TextractDetectAnalyzePolicy TextractGetResultPolicy TextractPolicy VPCAccessPolicy";

/// Adds the roles that SAM makes to a template that goes through it.
pub fn expand(stack: &mut Stack) {
    let transform = stack
        .template
        .get("Transform")
        .cloned()
        .unwrap_or(Value::Null);
    if !transform.elements().contains(&Value::text(SAM)) {
        return;
    }
    let globals = stack.section("Globals");
    let mut added = Vec::new();
    for resource in stack.resources() {
        let (word, service) = match resource.resource_type.as_str() {
            "AWS::Serverless::Function" => ("Function", "lambda.amazonaws.com"),
            "AWS::Serverless::StateMachine" => ("StateMachine", "states.amazonaws.com"),
            _ => continue,
        };
        let globals = globals.get(word);
        let property = |name: &str| {
            let own = resource.properties.get(name);
            own.or_else(|| globals.and_then(|globals| globals.get(name)))
                .cloned()
        };
        if property("Role").is_some() {
            continue;
        }
        let role = role(&resource, property, service);
        added.push((format!("{}Role", resource.id), role));
    }
    if let Value::Object(template) = &mut stack.template
        && let Some(Value::Object(resources)) = template.get_mut("Resources")
    {
        for (id, role) in added {
            resources.entry(id).or_insert(role);
        }
    }
}

/// The role of a function or a state machine.
fn role(resource: &Resource, property: impl Fn(&str) -> Option<Value>, service: &str) -> Value {
    let mut arns = Vec::new();
    if service.starts_with("lambda") {
        let basic = match property("VpcConfig") {
            Some(_) => "service-role/AWSLambdaVPCAccessExecutionRole",
            None => "service-role/AWSLambdaBasicExecutionRole",
        };
        arns.push(managed(basic));
        if property("Tracing") == Some(Value::text("Active")) {
            arns.push(managed("AWSXrayWriteOnlyAccess"));
        }
    }
    let mut inline = Vec::new();
    for policy in property("Policies").unwrap_or(Value::Null).elements() {
        match policy {
            Value::Text(name) if !name.starts_with("arn:") => {
                arns.push(managed(managed_policies::named(name).unwrap_or(name)));
            }
            Value::Object(_) if has_statements(policy) => inline.push(policy.clone()),
            Value::Object(members) => match members.keys().next() {
                Some(function) if function == "Ref" || function.starts_with("Fn::") => {
                    arns.push(policy.clone());
                }
                Some(name) if TEMPLATES.split_whitespace().any(|known| known == name) => {}
                name => {
                    let name = name.map_or("", String::as_str);
                    arns.push(Value::unknown(format!("SAM policy template \"{name}\"")));
                }
            },
            arn => arns.push(arn.clone()),
        }
    }
    let inline = inline.into_iter().enumerate().map(|(number, document)| {
        let name = format!("{}RolePolicy{number}", resource.id);
        // A policy that a condition leaves out has no name either.
        match document {
            Value::Object(ref members) if members.contains_key("Fn::If") => {
                if_written(document, &name)
            }
            document => written(&name, document),
        }
    });
    let trust = property("AssumeRolePolicyDocument").unwrap_or_else(|| {
        Value::object([
            ("Version", Value::text("2012-10-17")),
            (
                "Statement",
                Value::List(vec![Value::object([
                    ("Effect", Value::text("Allow")),
                    ("Action", Value::text("sts:AssumeRole")),
                    (
                        "Principal",
                        Value::object([("Service", Value::text(service))]),
                    ),
                ])]),
            ),
        ])
    });
    let mut properties = vec![
        ("AssumeRolePolicyDocument", trust),
        ("ManagedPolicyArns", Value::List(arns)),
        ("Policies", Value::List(inline.collect())),
    ];
    for (from, to) in [
        ("PermissionsBoundary", "PermissionsBoundary"),
        ("RolePath", "Path"),
        ("Tags", "Tags"),
    ] {
        properties.extend(property(from).map(|value| (to, value)));
    }
    let mut role = vec![
        ("Type".to_owned(), Value::text("AWS::IAM::Role")),
        ("Properties".to_owned(), Value::object(properties)),
    ];
    role.extend(
        resource
            .condition
            .as_ref()
            .map(|name| ("Condition".to_owned(), Value::text(name))),
    );
    Value::object(role)
}

/// The ARN of a managed policy of AWS.
fn managed(name: &str) -> Value {
    let text = format!("arn:${{AWS::Partition}}:iam::aws:policy/{name}");
    Value::object([("Fn::Sub", Value::Text(text))])
}

fn written(name: &str, document: Value) -> Value {
    Value::object([
        ("PolicyName", Value::text(name)),
        ("PolicyDocument", document),
    ])
}

/// The branches of `Fn::If`, each with the name of the policy.
fn if_written(document: Value, name: &str) -> Value {
    let Value::Object(mut members) = document else {
        return Value::unknown("Fn::If");
    };
    if let Some(Value::List(branches)) = members.get_mut("Fn::If") {
        for branch in branches.iter_mut().skip(1) {
            if branch.get("Statement").is_some() {
                *branch = written(name, std::mem::replace(branch, Value::Null));
            }
        }
    }
    Value::Object(members)
}

/// Whether it is a policy document, or a choice between such.
fn has_statements(policy: &Value) -> bool {
    let branches = policy.get("Fn::If").map_or(&[][..], Value::elements);
    policy.get("Statement").is_some()
        || branches
            .iter()
            .any(|branch| branch.get("Statement").is_some())
}
