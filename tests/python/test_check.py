"""The command `dsql-iam check`: a case for each error and each warning."""

import copy
import json
import os

import pytest

from support import ACCOUNT, REGION, Key, access_key, account, assumed_role, on_a_terminal, policy, without

ID = "abcdefghijklmnopqrstuvwxyz"
CLUSTER = f"arn:aws:dsql:{REGION}:{ACCOUNT}:cluster/{ID}"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
APP = f"arn:aws:iam::{ACCOUNT}:role/App"
ACCESS = Key("AKIAEXAMPLEALICE0001", "alices-secret-that-nobody-may-see")
SESSION = Key("ASIAEXAMPLESESSION01", "the-secret-of-the-session-itself", "its-session-token" * 3)
SECRETS = [ACCESS.secret, SESSION.secret, SESSION.session_token]
TRUST = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ALICE}}}


def statement(**more):
    """A policy of one statement, which allows to connect to the cluster."""
    return {"PolicyName": "inline", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "dsql:DbConnect", "Resource": CLUSTER} | more]}}


def sound():
    """Documents with which nothing is wrong: name, document, mode."""
    details = account({"alice": [statement()]}, {"App": [policy("dsql:DbConnect")]})
    details["RoleDetailList"][0]["AssumeRolePolicyDocument"] = TRUST
    return {
        "account.json": (details, 0o644),
        "key.json": (access_key("alice", ACCESS), 0o600),
        "session.json": (assumed_role("App", SESSION), 0o600),
    }


def directory(path, documents):
    path.mkdir(exist_ok=True)
    for name, (document, mode) in documents.items():
        text = document if isinstance(document, str) else json.dumps(document, indent=2)
        (path / name).write_text(text)
        (path / name).chmod(mode)
    return path


@pytest.fixture
def check(server, tmp_path):
    """Runs the command, on `documents` in a folder of this test's own."""
    kept = without("DSQL_")

    def run(documents, *arguments, cluster=("--cluster-arn", CLUSTER)):
        folder = directory(tmp_path / "iam", documents)
        done = server.run("check", "--iam-directory", folder, *cluster, *arguments, env=kept)
        for secret in SECRETS:
            assert secret not in done.stdout + done.stderr
        return done

    return run


def findings(done):
    return json.loads(done.stdout)["findings"]


def test_what_is_there_is_reported(check):
    documents = sound()
    details = documents["account.json"][0]
    managed = f"arn:aws:iam::{ACCOUNT}:policy/connect"
    details["Policies"] = [{
        "PolicyName": "connect", "Arn": managed, "DefaultVersionId": "v1",
        "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": True,
                               "Document": statement()["PolicyDocument"]}]}]
    details["GroupDetailList"] = [{
        "GroupName": "staff", "Arn": f"arn:aws:iam::{ACCOUNT}:group/staff",
        "GroupPolicyList": [], "AttachedManagedPolicies": [{"PolicyArn": managed}]}]
    details["UserDetailList"][0] |= {
        "GroupList": ["staff"],
        "PermissionsBoundary": {"PermissionsBoundaryType": "Policy",
                                "PermissionsBoundaryArn": managed}}
    documents["cluster.json"] = ({"identifier": ID, "arn": CLUSTER, "tags": {"a": "b"}}, 0o644)
    done = check(documents, "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for expected in [
        "account.json 0644 get-account-authorization-details: "
        "1 user, 1 group, 1 role, 1 managed policy",
        f"key.json 0600 create-access-key: access key {ACCESS.id} of user alice",
        f"session.json 0600 assume-role: session arn:aws:sts::{ACCOUNT}:assumed-role/App/s",
        f"cluster.json 0644 get-cluster: 1 tag of {CLUSTER}",
        f"{ALICE} inline: inline; groups: staff; boundary: {managed} (account.json)",
        f"arn:aws:iam::{ACCOUNT}:group/staff attached: {managed} (account.json)",
        f"{APP} inline: inline (account.json)",
        f"{ACCESS.id} active, of alice (key.json)",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s until 2099-01-01T00:00:00Z, "
        f"access key {SESSION.id} (session.json)",
        f"{managed} 1 statement, attached 2 times (account.json)",
        "0 errors, 0 warnings",
    ]:
        assert expected in lines

    report = json.loads(check(documents, "--json").stdout)
    assert report["cluster"] == CLUSTER
    assert (report["findings"], report["not_checked"]) == ([], [])
    assert [row["file"] for row in report["documents"]] == [
        "account.json", "cluster.json", "key.json", "session.json"]
    assert report["users"] == [{
        "arn": ALICE, "file": "account.json", "inline": ["inline"], "attached": [],
        "groups": ["staff"], "boundary": managed}]
    assert report["access_keys"] == [{
        "id": ACCESS.id, "file": "key.json", "user": "alice", "is_active": True}]
    assert report["sessions"][0]["expiration"] == "2099-01-01T00:00:00Z"
    assert report["policies"] == [{
        "name": managed, "file": "account.json", "statements": 1, "attachments": 2}]


def with_user(**more):
    documents = sound()
    documents["account.json"][0]["UserDetailList"][0] |= more
    return documents


def with_role(trust=TRUST, session=True, **more):
    documents = sound()
    documents["account.json"][0]["RoleDetailList"][0] |= {
        "AssumeRolePolicyDocument": trust} | more
    if not session:
        del documents["session.json"]
    return documents


def with_statement(**more):
    return with_user(UserPolicyList=[statement(**more)])


def with_trust(**more):
    return with_role({"Version": "2012-10-17", "Statement": TRUST["Statement"] | more})


def and_file(name, document, mode):
    return sound() | {name: (document, mode)}


def other(**parts):
    """The cluster's ARN with other parts."""
    names = ["arn", "partition", "service", "region", "account", "resource"]
    return ":".join(parts.get(name, part) for name, part in zip(names, CLUSTER.split(":")))


INLINE = f"{ALICE}, policy inline, statement 1"
TOKENLESS = {key: value for key, value in access_key("alice", ACCESS)["AccessKey"].items()
             if key != "SecretAccessKey"}

# name: documents, check, file, subject, part of what was found, part of the remedy
ERRORS = {
    "broken JSON": (
        and_file("x.json", '{\n  "UserDetailList": [\n    {"UserName" "a"}\n  ]\n}', 0o644),
        "document", "x.json", None, "expected `:` at line 3 column 17", None),
    "a broken policy": (
        and_file("x.json", '{"RoleDetailList": [{"RoleName": "x", "Arn": "x",\n'
                 '"AssumeRolePolicyDocument": {"Statement": {"Effect": "Permit"}}}]}', 0o644),
        "document", "x.json", None, "at line 2 column", None),
    "an operator that AWS does not have": (
        with_statement(Condition={"StringIs": {"aws:username": "alice"}}),
        "document", "account.json", None, 'unknown condition operator "StringIs"', None),
    "another command's output": (
        and_file("x.json", {"AccessKeyMetadata": []}, 0o644),
        "document", "x.json", None, "not the output of get-account-authorization-details", None),
    "a file that others can write": (
        and_file("account.json", sound()["account.json"][0], 0o664),
        "mode", "account.json", None, "has mode 0664: others than its owner can write it", "chmod go-w "),
    "the same key twice": (
        and_file("z.json", access_key("alice", ACCESS), 0o600),
        "document", "z.json", None, f"duplicate access key {ACCESS.id}", None),
    "a key whose secret is missing": (
        and_file("x.json", {"AccessKey": TOKENLESS | {"AccessKeyId": "AKIAEXAMPLEALICE0002"}},
                 0o600),
        "document", "x.json", None, "SecretAccessKey is missing or empty", None),
    "a secret that others can read": (
        and_file("key.json", access_key("alice", ACCESS), 0o640),
        "mode", "key.json", None, "holds a secret but has mode 0640; it must be 0600",
        "chmod 0600 "),
    "no text": (
        and_file("x.json", "", 0o600),
        "document", "x.json", None, "EOF while parsing a value at line 1 column 0", None),
}

SSO = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/App"

WARNINGS = {
    # Files
    "a name that does not count": (
        and_file("account.json.bak", {}, 0o600),
        "ignored", "account.json.bak", None, "its name does not end in .json", "give it a name"),
    "a name with a dot": (
        and_file(".hidden.json", {}, 0o600),
        "ignored", ".hidden.json", None, "its name starts with a dot", "give it a name"),
    "no identities": (
        {}, "empty", None, None, "nobody can log in with a token",
        "aws iam get-account-authorization-details"),
    # Keys and sessions
    "a key without its user": (
        and_file("x.json", access_key("bob", Key("AKIAEXAMPLEBOB000001", "secret-of-bob")), 0o600),
        "access_key", "x.json", "access key AKIAEXAMPLEBOB000001",
        "belongs to the user bob, who is in no document", "add the export of the user's account"),
    "a key of another account": (
        and_file("x.json", account({"bob": []}, number="111111111111"), 0o600) | {
            "z.json": (access_key("bob", Key("AKIAEXAMPLEBOB000001", "secret-of-bob")), 0o600)},
        "access_key", "z.json", "access key AKIAEXAMPLEBOB000001",
        "not to the cluster's account", f"use a principal of {ACCOUNT}"),
    "an id that may be a secret": (
        and_file("x.json", access_key("bob", Key("a-secret-in-the-wrong-place", "secret-of-nobody")), 0o600),
        "access_key", "x.json", "access key (which does not look like an access key id)",
        "belongs to the user bob", "add the export"),
    "an inactive key": (
        and_file("key.json", access_key("alice", ACCESS, status="Inactive"), 0o600),
        "access_key", "key.json", f"access key {ACCESS.id}", "is not active",
        "set Status to Active in key.json"),
    "a session without its role": (
        and_file("session.json", assumed_role("Gone", SESSION), 0o600),
        "session", "session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/Gone/s",
        "is of a role that is in no document", "add the export of the role's account"),
    "a session of a role that was made anew": (
        and_file("session.json", assumed_role("App", SESSION) | {"AssumedRoleUser": {
            "AssumedRoleId": "AROABEFORE:s", "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s"}}, 0o600),
        "session", "session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s",
        "is of a role with the id AROABEFORE, and the one of that name has another; it is refused",
        "begin it again with dsql-iam assume-role"),
    "a session that is over": (
        and_file("session.json", assumed_role("App", SESSION, expiration="2025-01-01T00:00:00Z"),
                 0o600),
        "session", "session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s",
        "ended at 2025-01-01T00:00:00Z", "begin it again with dsql-iam assume-role"),
    "a session narrowed out of sight": (
        and_file("session.json", assumed_role("App", SESSION) | {"PackedPolicySize": 6}, 0o600),
        "session", "session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s",
        "policies or tags that the document does not show", "member Request"),
    "a session policy that is not there": (
        and_file("session.json", assumed_role("App", SESSION) | {
            "Request": {"RoleArn": APP, "RoleSessionName": "s",
                        "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/Gone"}]}}, 0o600),
        "attached_policy", "session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s",
        "has the session policy arn:aws:iam::aws:policy/Gone, which is in no document",
        "export the account again"),
    # Users and roles
    "a policy that is not there": (
        with_user(AttachedManagedPolicies=[{
            "PolicyName": "Gone", "PolicyArn": "arn:aws:iam::aws:policy/Gone"}]),
        "attached_policy", "account.json", ALICE,
        "has the policy arn:aws:iam::aws:policy/Gone, which is in no document",
        "export the account again"),
    "a policy of AWS that is not there": (
        with_user(AttachedManagedPolicies=[{
            "PolicyName": "Gone", "PolicyArn": "arn:aws-cn:iam::aws:policy/service-role/Gone"}]),
        "attached_policy", "account.json", ALICE, "arn:aws-cn:iam::aws:policy/service-role/Gone",
        "export the account again, with AWSManagedPolicy in --filter if there is one"),
    "a policy of one's own that is not there": (
        with_user(AttachedManagedPolicies=[{
            "PolicyName": "Gone", "PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/aws/Gone"}]),
        "attached_policy", "account.json", ALICE, f"arn:aws:iam::{ACCOUNT}:policy/aws/Gone",
        "export the account again, with LocalManagedPolicy in --filter if there is one"),
    "a boundary that is not there": (
        with_user(PermissionsBoundary={
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": "arn:aws:iam::aws:policy/Gone"}),
        "attached_policy", "account.json", ALICE,
        "has the policy arn:aws:iam::aws:policy/Gone, which is in no document",
        "export the account again"),
    "a group that is not there": (
        with_user(GroupList=["staff"]),
        "group", "account.json", ALICE, "is in the group staff, which is in no document",
        "with its groups"),
    "a role that nobody may assume": (
        with_role({"Version": "2012-10-17", "Statement": TRUST["Statement"] | {
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/gone"}}}, session=False),
        "role", "account.json", APP, "nobody in the documents may assume it, and it has no session",
        f"--role-arn {APP}"),
    "a role for services": (
        with_role({"Version": "2012-10-17", "Statement": TRUST["Statement"] | {
            "Principal": {"Service": "lambda.amazonaws.com"}}}, session=False),
        "role", "account.json", APP, "nobody in the documents may assume it, and it has no session",
        "write a session of it into a document, in the form that aws sts assume-role prints: only "
        "lambda.amazonaws.com may begin one on AWS"),
    "a role for SAML": (
        with_role({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"],
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/idp"}}}, session=False),
        "role", "account.json", APP, "nobody in the documents may assume it, and it has no session",
        f"add the output of aws sts assume-role-with-saml --role-arn {APP}: its trust policy names"),
    "a role for OIDC": (
        with_role({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": "cognito-identity.amazonaws.com"}}}, session=False),
        "role", "account.json", APP, "nobody in the documents may assume it, and it has no session",
        f"add the output of aws sts assume-role-with-web-identity --role-arn {APP}: its trust policy"),
    "a role for each kind of provider": (
        with_role({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "sts:*",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/idp"}}}, session=False),
        "role", "account.json", APP, "nobody in the documents may assume it, and it has no session",
        f"aws sts assume-role-with-saml --role-arn {APP} or aws sts assume-role-with-web-identity "
        f"--role-arn {APP}"),
    "a role of IAM Identity Center": (
        with_role({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"],
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/AWSSSO_x_DO_NOT_DELETE"}}},
            session=False, Arn=SSO),
        "role", "account.json", SSO, "nobody in the documents may assume it, and it has no session",
        "write a session of it into a document, in the form that aws sts assume-role-with-saml prints"),
    # Statements
    "a misspelled action": (
        with_statement(Action=["dsql:DbConect", "dsql:DbConnectAdmin"]),
        "action", "account.json", INLINE, "dsql:DbConect is not a known action",
        "did you mean dsql:DbConnect?"),
    "a misspelled action with a Sid": (
        with_statement(Action="dsql:DBConnctAdmin", Sid="Misspelled"),
        "action", "account.json", f"{ALICE}, policy inline, statement Misspelled",
        "dsql:DBConnctAdmin is not a known action", "did you mean dsql:DbConnectAdmin?"),
    "a misspelled service": (
        with_statement(Action="dslq:DbConnect"),
        "action", "account.json", INLINE, "dslq:DbConnect is not a known action",
        "did you mean dsql:DbConnect?"),
    "an action that is like no other": (
        with_statement(Action="dsql:Frobnicate*"),
        "action", "account.json", INLINE, "dsql:Frobnicate* is not a known action",
        "dsql:DbConnect and dsql:DbConnectAdmin let connect"),
    "a misspelled action of a trust policy": (
        with_trust(Action=["sts:AssumRole", "sts:AssumeRole"]),
        "action", "account.json", f"{APP}, trust policy, statement 1",
        "sts:AssumRole is not a known action", "did you mean sts:AssumeRole?"),
    "a resource of another service": (
        with_statement(Resource=["arn:aws:rds-db:us-east-1:012345678912:dbuser:x/y",
                                 f"{CLUSTER.replace('cluster/', 'stream/')}"]),
        "resource", "account.json", INLINE,
        "no Resource is a cluster: arn:aws:rds-db:us-east-1:012345678912:dbuser:x/y is of another "
        "service", "or *"),
    "a resource that is no cluster": (
        with_statement(Effect="Deny", Resource=other(resource=ID)),
        "resource", "account.json", INLINE, f"{other(resource=ID)} is not cluster/ID", "or *"),
    "all resources taken out": (
        with_user(UserPolicyList=[{"PolicyName": "inline", "PolicyDocument": {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": "*", "NotResource": "*"}}}]),
        "resource", "account.json", INLINE, "NotResource is *, so that nothing is left",
        "use Resource"),
    "a cluster of another region": (
        with_statement(Resource=other(region="us-west-2")),
        "cluster", "account.json", INLINE,
        f"Resource names no cluster that exists: {other(region='us-west-2')} (the cluster's region "
        f"is {REGION})", f"name this one: {CLUSTER}"),
    "a cluster of another account": (
        with_statement(Action="dsql:*", Resource=other(account="111111111111")),
        "cluster", "account.json", INLINE, f"(the cluster's account is {ACCOUNT})",
        f"name this one: {CLUSTER}"),
    "another cluster": (
        with_statement(Resource=other(resource="cluster/zzz*")),
        "cluster", "account.json", INLINE,
        f"Resource names no cluster that exists: {other(resource='cluster/zzz*')}",
        f"name this one: {CLUSTER}"),
    "a deny of a cluster that is misspelled": (
        with_statement(Effect="Deny", Resource=other(resource="cluster/" + "z" * 26)),
        "cluster", "account.json", INLINE,
        f"Resource names no cluster that exists: {other(resource='cluster/' + 'z' * 26)}",
        f"name this one: {CLUSTER}"),
    "a condition key that no login has": (
        with_statement(Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}}),
        "condition_key", "account.json", INLINE, "no login has aws:SourceVpc, which it needs",
        "ContextEntries"),
    "a tag that nobody has": (
        with_statement(Condition={"Null": {"aws:PrincipalTag/team": "false"}}),
        "condition_key", "account.json", INLINE, "no login has aws:PrincipalTag/team",
        "add the tag team to a user or role, if it is to count"),
    "a tag that the cluster does not have": (
        with_statement(Condition={"StringEquals": {"aws:ResourceTag/Stage": "test"}}),
        "condition_key", "account.json", INLINE, "no login has aws:ResourceTag/Stage",
        "add the tag Stage to the cluster, in the output of aws dsql get-cluster"),
    "an address in a VPC that nothing names": (
        with_statement(Condition={"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}),
        "condition_key", "account.json", INLINE, "no login has aws:VpcSourceIp",
        "ask for aws:SourceIp, or name aws:SourceVpc or aws:SourceVpce in a document of ContextEntries"),
    "an address outside of the VPC that is named": (
        with_statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}) | {
            "entries.json": ({"ContextEntries": [
                {"ContextKeyName": "aws:SourceVpc", "ContextKeyValues": ["vpc-1"],
                 "ContextKeyType": "string"}]}, 0o644)},
        "condition_key", "account.json", INLINE, "no login has aws:SourceIp",
        "ask for aws:VpcSourceIp"),
    "a variable that no login has": (
        with_statement(Resource=other(resource="cluster/${aws:SourceVpc}")),
        "condition_key", "account.json", INLINE, "no login has aws:SourceVpc", "ContextEntries"),
    "values that exclude each other": (
        with_statement(Condition={"StringEquals": {"aws:username": ["alice", "bob"]},
                                  "StringNotLike": {"aws:username": ["a*", "b*"]}}),
        "condition", "account.json", INLINE,
        "no value of aws:username fulfils all of its conditions", "two statements"),
    "numbers that exclude each other": (
        with_statement(Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "10"},
                                  "NumericGreaterThan": {"aws:MultiFactorAuthAge": "20"}}),
        "condition", "account.json", INLINE,
        "no value of aws:MultiFactorAuthAge fulfils all of its conditions", "two statements"),
    "dates that exclude each other": (
        with_trust(Condition={"DateLessThan": {"aws:CurrentTime": "2090-01-01"},
                              "DateGreaterThan": {"aws:CurrentTime": "2091-01-01"}}),
        "condition", "account.json", f"{APP}, trust policy, statement 1",
        "no value of aws:CurrentTime fulfils all of its conditions", "two statements"),
    "a bool that is to be both": (
        with_statement(Condition={"Bool": {"aws:SecureTransport": "true"},
                                  "BoolIfExists": {"aws:SecureTransport": "false"}}),
        "condition", "account.json", INLINE,
        "no value of aws:SecureTransport fulfils all of its conditions", "two statements"),
    "a key that is to be there and not": (
        with_statement(Condition={"StringEquals": {"aws:username": "alice"},
                                  "Null": {"aws:username": "true"}}),
        "condition", "account.json", INLINE,
        "Null wants aws:username not to be there, and another condition needs it",
        "two statements"),
    "an empty list": (
        with_statement(Condition={"StringEquals": {"aws:username": []}}),
        "condition", "account.json", INLINE,
        "a condition on aws:username compares with an empty list", "list the values"),
    "a time that is over": (
        with_statement(Effect="Deny",
                       Condition={"DateLessThan": {"aws:CurrentTime": "2025-01-01T00:00:00Z"}}),
        "condition", "account.json", INLINE,
        "the time that aws:CurrentTime has to be in is over", "move its end"),
    "a time in seconds that is over": (
        with_statement(Condition={"NumericLessThan": {"aws:EpochTime": "1700000000"}}),
        "condition", "account.json", INLINE,
        "the time that aws:EpochTime has to be in is over", "move its end"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error(check, name):
    documents, kind, file, subject, found, remedy = ERRORS[name]
    done = check(documents, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    errors = [finding for finding in findings(done) if finding["severity"] == "error"]
    assert len(errors) == 1, errors
    assert_is(errors[0], kind, file, subject, found, remedy)
    # A consequence is not reported as one more fault.
    assert "mend the errors first" in json.loads(done.stdout)["not_checked"][0]
    text = check(documents)
    assert text.returncode == 1
    assert_is_in_text(text.stdout, errors[0])
    assert "1 error, " in text.stdout.splitlines()[-1]


def test_a_document_forges_no_line_and_moves_no_cursor(check, server, tmp_path):
    documents = sound()
    details = documents["account.json"][0]
    policies = details["UserDetailList"][0]["UserPolicyList"] = [statement() | {"PolicyName": "p\n0 errors"}]
    assert "inline: p\\u{a}0 errors" in check(documents).stdout
    policies.append(statement(Sid="a\x1b[2J\n0 errors") | {"PolicyName": "q"})
    assert 'Sid "a\\u{1b}[2J\\u{a}0 errors" is not of letters and digits alone' in check(documents).stdout
    done = server.run("access", "--iam-directory", tmp_path / "iam", "--cluster-arn", CLUSTER)
    assert done.returncode == 1 and "\x1b" not in done.stderr and "\\u{1b}[2J" in done.stderr


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning(check, name):
    documents, kind, file, subject, found, remedy = WARNINGS[name]
    done = check(documents, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    [finding] = findings(done)
    assert finding["severity"] == "warning"
    assert_is(finding, kind, file, subject, found, remedy)
    assert check(documents, "--strict").returncode == 1
    text = check(documents)
    assert text.returncode == 0
    assert_is_in_text(text.stdout, finding)
    assert text.stdout.splitlines()[-1] == "0 errors, 1 warning"


def test_a_key_of_a_name_that_several_accounts_have(check):
    """It opens nothing, which is an error; but whose it is can be said."""
    key = access_key("bob", Key("AKIAEXAMPLEBOB000001", "secret-of-bob"))
    documents = and_file("x.json", account({"bob": []}, number="111111111111"), 0o600) | {
        "y.json": (account({"bob": []}, number="222222222222"), 0o600), "z.json": (key, 0o600)}
    done = check(documents, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    [finding] = findings(done)
    assert finding["severity"] == "error"
    assert_is(finding, "access_key", "z.json", "access key AKIAEXAMPLEBOB000001",
              "opens nothing: several accounts have a user bob", 'name its account: "AccountId"')
    key["AccessKey"]["AccountId"] = "111111111111"
    done = check(documents, "--json")
    assert done.returncode == 0
    [finding] = findings(done)
    assert "not to the cluster's account" in finding["found"]
    key["AccessKey"]["AccountId"] = "1111"
    done = check(documents, "--json")
    assert done.returncode == 1
    assert "AccountId must be twelve digits" in done.stdout


def assert_is(finding, kind, file, subject, found, remedy):
    assert (finding["check"], finding["file"], finding["subject"]) == (kind, file, subject)
    assert found in finding["found"]
    assert (remedy or "") in (finding["remedy"] or "")
    assert (remedy is None) == (finding["remedy"] is None)


def assert_is_in_text(text, finding):
    place = [part for part in (finding["file"], finding["subject"]) if part]
    assert ": ".join([*place, finding["found"]]) in text
    assert f"-> {finding['remedy']}" in text or finding["remedy"] is None
    assert "\x1b" not in text


@pytest.mark.parametrize("more", [
    # Statements of other services are not judged.
    {"Action": "s3:GetObjekt", "Resource": "arn:aws:s3:::bucket/*",
     "Condition": {"StringEquals": {"s3:prefix": "x"}}},
    {"Action": ["dsql:DbConnect", "s3:GetObject"], "Resource": ["arn:aws:s3:::b/*", CLUSTER]},
    {"Action": "*", "Resource": "arn:aws:s3:::bucket"},
    {"Action": "dsql:CreateCluster", "Resource": other(region="us-west-2")},
    {"Action": "*:DbConnect", "Resource": "*"},
    {"Action": "dsql:Db*"}, {"Action": "dsql:*"},
    {"Resource": other(region="*", resource="cluster/*")}, {"Resource": "arn:*:dsql"},
    {"Resource": other(resource="cluster/${aws:username}")},
    {"Resource": other(resource="cluster/${aws:SourceVpc, 'abc*'}*")},
    {"Effect": "Deny", "Resource": other(region="us-west-2")},
    {"Condition": {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}},
    {"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}},
    {"Condition": {"Null": {"aws:SourceVpc": "true"}}},
    {"Condition": {"DateGreaterThan": {"aws:CurrentTime": "2090-01-01"},
                   "DateLessThan": {"aws:CurrentTime": "2091-01-01"}}},
    {"Condition": {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}},
    {"Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "1e300"}}},
    {"Condition": {"StringEquals": {"aws:username": ["alice", "bob"]},
                   "StringNotEquals": {"aws:username": "bob"}}},
    {"Condition": {"StringEquals": {"aws:username": "alice"},
                   "StringLike": {"aws:username": "${aws:username}"}}},
    {"Condition": {"StringLike": {"aws:username": "a*"}, "StringNotLike": {"aws:username": "b*"}}},
])
def test_no_warning(check, more):
    done = check(with_statement(**more), "--strict")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 errors, 0 warnings")


def test_context_entries_and_tags_are_known(check):
    documents = with_statement(Condition={
        "StringEquals": {"aws:SourceVpc": "vpc-1", "aws:ResourceTag/env": "test",
                         "aws:PrincipalTag/team": "blue"},
        "StringLike": {"aws:PrincipalOrgPaths": "b"}, "IpAddress": {"aws:VpcSourceIp": "10.1.2.3"}})
    documents["account.json"][0]["UserDetailList"][0]["Tags"] = [{"Key": "Team", "Value": "blue"}]
    documents["cluster.json"] = ({"identifier": ID, "arn": CLUSTER, "tags": {"env": "test"}}, 0o644)
    documents["entries.json"] = ({"ContextEntries": [
        {"ContextKeyName": "aws:SourceVpc", "ContextKeyValues": ["vpc-1"],
         "ContextKeyType": "string"},
        {"ContextKeyName": "aws:PrincipalOrgPaths", "ContextKeyValues": ["a", "b"],
         "ContextKeyType": "stringList"}]}, 0o644)
    assert check(documents, "--strict").returncode == 0
    # Behind a VPC endpoint the address is another key.
    documents["account.json"][0]["UserDetailList"][0]["UserPolicyList"] = [
        statement(Condition={"IpAddress": {"aws:SourceIp": "10.1.2.3"}})]
    [finding] = findings(check(documents, "--json"))
    assert finding["found"] == "no login has aws:SourceIp, which it needs"


def test_other_policies_are_looked_at(check):
    wrong = {"Version": "2012-10-17", "Statement": {
        "Sid": "Wrong", "Effect": "Allow", "Action": "dsql:DbConect", "Resource": "*"}}
    managed = f"arn:aws:iam::{ACCOUNT}:policy/wrong"
    control = "arn:aws:organizations::1:policy/o/service_control_policy/p"
    group = f"arn:aws:iam::{ACCOUNT}:group/staff"
    documents = sound()
    details = documents["account.json"][0]
    details["Policies"] = [{"PolicyName": "wrong", "Arn": managed, "DefaultVersionId": "v1",
                            "PolicyVersionList": [{"VersionId": "v1", "Document": wrong}]}]
    details["GroupDetailList"] = [{
        "GroupName": "staff", "Arn": group, "AttachedManagedPolicies": [],
        "GroupPolicyList": [{"PolicyName": "inline", "PolicyDocument": wrong}]}]
    documents["control.json"] = ({"Policy": {
        "PolicySummary": {"Arn": control, "Type": "SERVICE_CONTROL_POLICY"},
        "Content": json.dumps(wrong)}}, 0o644)
    based = copy.deepcopy(wrong)
    based["Statement"]["Principal"] = "*"
    documents["based.json"] = ({"policy": json.dumps(based), "policyVersion": "1"}, 0o644)
    documents["session.json"] = (assumed_role("App", SESSION) | {
        "Request": {"RoleArn": APP, "RoleSessionName": "s", "Policy": json.dumps(wrong)}}, 0o600)
    found = {(finding["file"], finding["subject"]) for finding in findings(check(documents, "--json"))}
    assert found == {
        ("account.json", f"{managed}, statement Wrong"),
        ("account.json", f"{group}, policy inline, statement Wrong"),
        ("control.json", f"{control}, statement Wrong"),
        ("based.json", "the cluster's policy, statement Wrong"),
        ("session.json", f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s, session policy, "
                         "statement Wrong"),
    }


def test_a_role_whose_session_is_over(check):
    documents = with_role({"Version": "2012-10-17", "Statement": TRUST["Statement"] | {
        "Principal": {"Service": "lambda.amazonaws.com"}}})
    assert check(documents, "--strict").returncode == 0
    documents["session.json"] = (
        assumed_role("App", SESSION, expiration="2025-01-01T00:00:00Z"), 0o600)
    by_check = {finding["check"]: finding["found"] for finding in findings(check(documents, "--json"))}
    assert by_check == {
        "session": "ended at 2025-01-01T00:00:00Z",
        "role": "may connect, but nobody in the documents may assume it, and its session has expired"}
    # Policies for other services are not reported.
    documents["account.json"][0]["RoleDetailList"][0]["RolePolicyList"] = [policy("s3:*")]
    assert [f["check"] for f in findings(check(documents, "--json"))] == ["session"]


def test_folders_and_open_directories(check, tmp_path):
    directory(tmp_path / "iam", sound())
    (tmp_path / "iam" / "more").mkdir()
    (tmp_path / "iam").chmod(0o777)
    about = {(f["file"], f["found"]) for f in findings(check(sound(), "--json"))}
    assert about == {
        ("more", "it is ignored, since it is a folder"),
        (None, "the directory has mode 0777: others than its owner can put documents into it")}
    # A document has to be a file, though.
    (tmp_path / "iam" / "more").rename(tmp_path / "iam" / "more.json")
    (tmp_path / "iam").chmod(0o755)
    errors = [f for f in findings(check(sound(), "--json")) if f["severity"] == "error"]
    assert [f["file"] for f in errors] == ["more.json"]
    assert "is not a regular file" in errors[0]["found"]


def test_a_link_to_nowhere(check, tmp_path):
    directory(tmp_path / "iam", sound())
    (tmp_path / "iam" / "x.json").symlink_to("nowhere")
    done = check(sound(), "--json")
    assert done.returncode == 1
    [finding] = findings(done)
    assert (finding["file"], finding["severity"]) == ("x.json", "error")
    assert finding["found"].startswith("it cannot be read: No such file")


def test_no_directory(server, tmp_path):
    (tmp_path / "iam").write_text("")
    for name in "iam", "nowhere":
        for arguments in [], ["--json"]:
            done = server.run("check", "--iam-directory", tmp_path / name, *arguments)
            assert (done.returncode, done.stderr) == (1, "")
            assert "could not read the IAM directory" in done.stdout


def test_the_cluster_may_be_unknown(check):
    documents = with_statement(Resource=other(region="us-west-2"))
    done = check(documents, "--strict", cluster=())
    assert done.returncode == 0
    assert "not checked" in done.stdout and "name it with --cluster-arn" in done.stdout
    report = json.loads(check(documents, "--json", cluster=()).stdout)
    assert (report["cluster"], report["findings"]) == (None, [])
    # One that a document describes is the one that is meant.
    described = documents | {"cluster.json": (
        {"identifier": ID, "arn": CLUSTER, "tags": {}}, 0o644)}
    report = json.loads(check(described, "--json", cluster=()).stdout)
    assert (report["cluster"], report["not_checked"]) == (CLUSTER, [])
    [finding] = report["findings"]
    assert finding["found"].startswith("Resource names no cluster that exists: ")
    # A resource that is no cluster of any account is reported all the same.
    documents = with_statement(Resource="arn:aws:s3:::bucket")
    [finding] = findings(check(documents, "--json", cluster=()))
    assert finding["check"] == "resource"


def test_ways_to_name_the_cluster(check):
    documents = with_statement(Resource=other(region="us-west-2"))
    for cluster in [
        ("--cluster-arn", CLUSTER, "--region", "us-west-2"),
        ("--account-id", ACCOUNT, "--region", "us-west-2", "--cluster-id", ID),
    ]:
        report = json.loads(check(documents, "--json", cluster=cluster).stdout)
        assert report["cluster"] == other(region="us-west-2")
        assert report["findings"] == []
    # One that a document describes exists too.
    documents["cluster.json"] = (
        {"identifier": ID, "arn": other(region="us-west-2"), "tags": {}}, 0o644)
    assert findings(check(documents, "--json")) == []
    for cluster, status, fault in [
        (("--cluster-arn", "nonsense"), 1, "nonsense is not the ARN of a cluster"),
        (("--account-id", ACCOUNT), 2, "--cluster-id"),
        (("--account-id", "1", "--region", REGION, "--cluster-id", ID), 1,
         "account_id must be twelve digits"),
    ]:
        done = check(documents, cluster=cluster)
        assert done.returncode == status
        assert fault in done.stderr


def test_the_directory_of_a_server_is_sound(server):
    done = server.run("check", "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    for profile in "admin", "example", "denied":
        key = server.key(profile)
        assert key.id in done.stdout
        assert key.secret not in done.stdout
        assert key.session_token is None or key.session_token not in done.stdout


def test_colours_on_a_terminal_only(server, tmp_path):
    folder = directory(tmp_path / "iam", WARNINGS["an inactive key"][0])
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    for more, has_colours in [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False)]:
        status, text = on_a_terminal([server.command, "check", "--iam-directory", folder],
                                     env=kept | more)
        assert status == 0
        assert ("\x1b[33mwarning" in text) == has_colours
        assert "is not active" in text


def test_names_of_files_do_nothing_to_a_terminal(check):
    """They are written out, for people; for scripts they are what they are."""
    name = "a\x1b[2J\u202eb.json"
    for broken in (False, True):
        documents = sound()
        documents[name] = ("{" if broken else documents.pop("account.json")[0], 0o644)
        done = check(documents)
        assert "a\\u{1b}[2J\\u{202e}b.json" in done.stdout
        assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr)
        assert name in [one["file"] for one in json.loads(check(documents, "--json").stdout)["documents"]]
