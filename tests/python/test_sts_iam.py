"""`dsql-iam sts` answers IAM's simulations as the commands of these names do, to whoever may ask."""

import json
import subprocess

import boto3
import pytest
from botocore.exceptions import ClientError

from assumable import ALICE, BOB, trust, with_roles
from sts_service import Sts
from support import ACCOUNT, REGION, Key, access_key, policy, until

SIMULATOR = Key("AKIA" + "M" * 16, "the secret of whoever may simulate it al")
CAROL = Key("AKIA" + "K" * 16, "the secret of carol, who may simulate bob")
USER = f"arn:aws:iam::{ACCOUNT}:user/"
CLUSTER = f"arn:aws:dsql:{REGION}:{ACCOUNT}:cluster/{'a' * 26}"


@pytest.fixture(scope="module")
def sts(own):
    may = {"alice": [policy("dsql:DbConnect")], "bob": [],
           "simulator": [policy("iam:SimulatePrincipalPolicy", "iam:SimulateCustomPolicy"),
                         policy("iam:*", effect="Deny", Condition={
                             "StringEquals": {"aws:RequestedRegion": "eu-west-1"}})]}
    for number, one in enumerate(may["simulator"]):
        one["PolicyName"] = f"p{number}"
    may["carol"] = [policy("iam:SimulatePrincipalPolicy", Resource=f"{USER}bob")]
    roles = with_roles(users=may, trusting=trust(f"arn:aws:iam::{ACCOUNT}:root"), closed=trust(f"{USER}nobody"))
    with own.documents(simulated=roles, carol=access_key("carol", CAROL), alice=access_key("alice", ALICE), bob=access_key("bob", BOB),
                       simulator=access_key("simulator", SIMULATOR)):
        sts = Sts(own)
        yield sts
        sts.end()


@pytest.fixture
def iam(sts):
    return sts.client(SIMULATOR, "iam")


def refusal(operation, **arguments):
    with pytest.raises(ClientError) as raised:
        operation(**arguments)
    error = raised.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


@pytest.mark.parametrize("more", [
    {}, {"ResourceArns": [CLUSTER, "arn:aws:s3:::b"]},
    {"ContextEntries": [{"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.0.0.1"], "ContextKeyType": "ip"}]},
    {"PermissionsBoundaryPolicyInputList": [json.dumps(policy("s3:*")["PolicyDocument"])]},
    {"PolicyExclusionList": [{"PolicyType": "inline"}]},
    {"ResourceArns": [f"arn:aws:dsql:{REGION}:999999999999:cluster/{'b' * 26}"], "CallerArn": f"{USER}alice",
     "ResourcePolicy": json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}})},
])
def test_the_answer_is_the_commands(own, iam, more):
    asked = {"PolicySourceArn": f"{USER}alice", "ActionNames": ["dsql:DbConnect", "dsql:DbConnectAdmin"]} | more
    said = iam.simulate_principal_policy(**asked)
    said.pop("ResponseMetadata")
    done = subprocess.run([own.command, "simulate-principal-policy", "--iam-directory", own.iam,
                           "--cli-input-json", json.dumps(asked)], check=True, capture_output=True, text=True)
    assert said == json.loads(done.stdout)


def test_policies_of_the_request_alone(iam):
    allow = json.dumps(policy("dsql:DbConnect")["PolicyDocument"], indent=1)
    scp = json.dumps(policy("s3:*")["PolicyDocument"])
    asked = {"PolicyInputList": [allow], "ActionNames": ["dsql:DbConnect"]}
    result, = iam.simulate_custom_policy(**asked)["EvaluationResults"]
    assert (result["EvalDecision"], result["EvalResourceName"]) == ("allowed", "arn:${Partition}:dsql:${Region}:${Account}:cluster/${Identifier}")
    assert result["MatchedStatements"][0]["StartPosition"] == {"Line": 4, "Column": 3}
    result, = iam.simulate_custom_policy(
        **asked, OrderedOrganizationPolicyInputList=[{"ServiceControlPolicyInputList": [scp]}])["EvaluationResults"]
    assert result["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": False}


def test_who_may_ask(own, sts, iam):
    """By the caller's own policies, as on AWS."""
    for key, name in ((ALICE, "alice"), (BOB, "bob")):
        client = sts.client(key, "iam")
        for operation, action, resource in (
                (client.simulate_principal_policy, "iam:SimulatePrincipalPolicy", f"{USER}alice"),
                (client.simulate_principal_policy, "iam:SimulatePrincipalPolicy", f"{USER}nobody"),
                (client.simulate_custom_policy, "iam:SimulateCustomPolicy", "*")):
            arguments = {"PolicySourceArn": resource} if resource != "*" else {"PolicyInputList": ["{}"]}
            assert refusal(operation, ActionNames=["a:b"], **arguments) == (
                "AccessDenied", 403,
                f"User: {USER}{name} is not authorized to perform: {action} on resource: {resource} because no "
                f"identity-based policy allows the {action} action")
    wrong = sts.client(Key(SIMULATOR.id, "another secret than that of the simulator"), "iam")
    assert refusal(wrong.simulate_custom_policy, PolicyInputList=["{}"], ActionNames=["a:b"])[:2] == (
        "SignatureDoesNotMatch", 403)


def test_nothing_is_told_of_those_that_the_caller_may_not_simulate(sts):
    """carol may simulate bob alone, whom one role trusts."""
    iam = sts.client(CAROL, "iam")
    allow = [json.dumps(policy("sts:AssumeRole")["PolicyDocument"])]
    roles = [f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("trusting", "closed", "nowhere")]
    asked = {"PolicySourceArn": f"{USER}bob", "PolicyInputList": allow, "ActionNames": ["sts:AssumeRole"]}
    result, = iam.simulate_principal_policy(**asked, ResourceArns=roles)["EvaluationResults"]
    first, *others = result["ResourceSpecificResults"]
    assert all(one | {"EvalResourceName": ""} == first | {"EvalResourceName": ""} for one in others)
    for name in ("alice", "nobody"):
        assert refusal(iam.simulate_principal_policy, **asked, CallerArn=f"{USER}{name}") == (
            "AccessDenied", 403, f"User: {USER}carol is not authorized to perform: iam:SimulatePrincipalPolicy on "
            f"resource: {USER}{name} because no identity-based policy allows the iam:SimulatePrincipalPolicy action")
    assert iam.simulate_principal_policy(**asked, CallerArn=f"{USER}bob")["EvaluationResults"]


def test_the_trust_policy_of_the_role_that_is_simulated(iam):
    allow = [json.dumps(policy("sts:AssumeRole")["PolicyDocument"])]
    for name, decision in (("trusting", "allowed"), ("closed", "implicitDeny")):
        role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        result, = iam.simulate_principal_policy(PolicySourceArn=role, PolicyInputList=allow, ResourceArns=[role],
                                                ActionNames=["sts:AssumeRole"])["EvaluationResults"]
        assert result["EvalDecision"] == decision


def test_signed_for_another_service(sts):
    body = "Action=SimulateCustomPolicy&Version=2010-05-08"
    status, text = sts.send(body, sts.signed(body, SIMULATOR))
    assert status == 403 and "<Code>SignatureDoesNotMatch</Code>" in text
    assert 'xmlns="https://iam.amazonaws.com/doc/2010-05-08/"' in text
    for action in ("CreateUser", "AssumeRole", "GetCallerIdentity"):
        body = f"Action={action}&Version=2010-05-08"
        status, text = sts.send(body, sts.signed(body, SIMULATOR, "iam"))
        assert status == 400 and "<Code>InvalidAction</Code>" in text
    body = "Action=GetCallerIdentity&Version=2011-06-15"
    assert sts.send(body, sts.signed(body, SIMULATOR, "iam"))[0] == 403


@pytest.mark.parametrize("arguments, code, status, message", [
    ({"PolicySourceArn": f"{USER}nobody"}, "NoSuchEntity", 404, "The user with name nobody cannot be found."),
    ({"PolicyExclusionList": [{"PolicyType": "x"}]}, "ValidationError", 400,
     "1 validation error detected: Value 'x' at 'policyType' failed to satisfy constraint: Member must satisfy enum value "
     "set: [inline, aws-managed, user-managed, permission-boundary, scp, rcp]"),
    ({"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:root"}, "InvalidInput", 400,
     f"arn:aws:iam::{ACCOUNT}:root is not the ARN of a user, a group or a role"),
    ({"ActionNames": ["DbConnect"]}, "InvalidInput", 400,
     "DbConnect does not include the service identifier, as in iam:CreateUser"),
    ({"ActionNames": []}, "ValidationError", 400,
     "1 validation error detected: Value null at 'actionNames' failed to satisfy constraint: Member must not be null"),
    ({"PolicyInputList": ["{}"]}, "InvalidInput", 400,
     "PolicyInputList.1: missing field `Statement` at line 1 column 2"),
    ({"PolicyInputList": ["file:///etc/passwd"]}, "InvalidInput", 400,
     "PolicyInputList.1: expected ident at line 1 column 2; a policy is JSON"),
    ({"CallerArn": f"arn:aws:iam::{ACCOUNT}:root"}, "InvalidInput", 400,
     "Invalid caller - Caller must be an IAM user in this context."),
    ({"CallerArn": f"arn:aws:iam::{ACCOUNT}:role/r"}, "InvalidInput", 400,
     "Invalid caller - Caller must be an IAM user in this context."),
    ({"Marker": "x"}, "InvalidInput", 400, "Invalid Marker: x"),
    ({"Marker": "2"}, "InvalidInput", 400, "Invalid Marker: 2"),
    ({"ActionNames": [f"a:b{n}" for n in range(101)], "ResourceArns": [f"arn:aws:s3:::{n}" for n in range(100)]},
     "InvalidInput", 400, "There are more than 10000 pairs of an action and a resource."),
])
def test_faults(sts, iam, arguments, code, status, message):
    asked = {"PolicySourceArn": f"{USER}alice", "ActionNames": ["a:b"]} | arguments
    before = len(sts.errors)
    assert refusal(iam.simulate_principal_policy, **asked) == (code, status, message)
    start = f"dsql-iam: refused, from 127.0.0.1: {code}: iam:SimulatePrincipalPolicy on {asked['PolicySourceArn']}, "
    until(lambda: any(line.startswith(start) for line in sts.errors[before:]), "it is logged")


def test_a_long_name_of_a_parameter_is_no_long_line(sts):
    name = "x" * 400_000
    for body in (f"Action=SimulateCustomPolicy&Version=2010-05-08&{name}=1", f"Action=GetCallerIdentity&Version=2011-06-15&{name}=1"):
        before = len(sts.errors)
        service = "iam" if "Simulate" in body else "sts"
        assert sts.send(body, sts.signed(body, SIMULATOR, service))[0] == 400
        until(lambda: sts.errors[before:], "it is logged")
        line, = sts.errors[before:]
        assert "xxxx" in line and len(line) < 5000


def test_a_parameter_of_the_other_operation(sts):
    """SDKs do not send them."""
    for action, more in (("SimulateCustomPolicy", "PolicySourceArn=x"),
                         ("SimulateCustomPolicy", "PolicyExclusionList.member.1.PolicyType=scp"),
                         ("SimulatePrincipalPolicy", "OrderedOrganizationPolicyInputList.member.1=x")):
        source = f"&PolicySourceArn={USER}alice" * (action == "SimulatePrincipalPolicy")
        body = f"Action={action}&Version=2010-05-08{source}&ActionNames.member.1=a:b&PolicyInputList.member.1=%7B%7D&{more}"
        status, text = sts.send(body, sts.signed(body, SIMULATOR, "iam"))
        assert status == 400 and f"<Message>Parameter {more.partition('=')[0]} is not known.</Message>" in text


def test_a_policy_of_a_file_of_the_service_is_not_read(iam, tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy("*")["PolicyDocument"]))
    for name in ("PolicyInputList", "PermissionsBoundaryPolicyInputList"):
        code, status, message = refusal(iam.simulate_custom_policy, ActionNames=["a:b"],
                                        **({"PolicyInputList": ["{}"]} | {name: [f"file://{path}"]}))
        assert (code, status) == ("InvalidInput", 400)
    code, status, message = refusal(
        iam.simulate_principal_policy, PolicySourceArn=f"{USER}alice", ActionNames=["a:b"],
        CallerArn=f"{USER}alice", ResourcePolicy=f"file://{path}")
    assert (code, message) == ("InvalidInput", "ResourcePolicy: expected ident at line 1 column 2; a policy is JSON")


def test_all_pairs_of_a_request_have_one_budget(sts, iam):
    """A single one is answered."""
    text = "a:" + "*b" * 60 + "c"
    allow = json.dumps({"Statement": [{"Effect": "Allow", "Action": [text + str(n) for n in range(60)], "Resource": "*"}]})
    asked = {"PolicyInputList": [allow], "ActionNames": ["a:" + "b" * 120]}
    result, = iam.simulate_custom_policy(**asked)["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    asked["ActionNames"] = ["a:" + "b" * 120 + str(n) for n in range(100)]
    asked["ResourceArns"] = [f"arn:aws:s3:::{n}" for n in range(100)]
    once = boto3.client("iam", endpoint_url=sts.url, region_name=REGION, aws_access_key_id=SIMULATOR.id,
                        aws_secret_access_key=SIMULATOR.secret, config=boto3.session.Config(retries={"max_attempts": 0}))
    code, status, message = refusal(once.simulate_custom_policy, **asked)
    assert (code, status) == ("PolicyEvaluation", 500)
    assert message.endswith(": the policies take more work than one request may")


def test_pages(iam):
    actions = [f"a:b{number}" for number in range(250)]
    asked = {"PolicySourceArn": f"{USER}alice", "ActionNames": actions}
    first = iam.simulate_principal_policy(**asked)
    assert (len(first["EvaluationResults"]), first["IsTruncated"], first["Marker"]) == (100, True, "100")
    for size in (None, 1000, 60):
        pages = iam.get_paginator("simulate_principal_policy").paginate(**asked, PaginationConfig={"PageSize": size})
        assert [result["EvalActionName"] for page in pages for result in page["EvaluationResults"]] == actions
