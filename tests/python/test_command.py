"""The command `dsql-iam`, as a shell runs it."""

import json
import os
import pathlib
import re
import subprocess

import psycopg
import pytest

from support import ACCOUNT, DENIED, EXAMPLE_ARN, Key, access_key, account, assumed_role, sign, without


def explain(server, role, token, *more):
    return server.run("explain", "--role", role, *more, input=token + "\n")


def test_explain_an_admission(server):
    done = explain(server, "anybody", server.token("example"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "policy             passed" in lines
    assert f"principal          arn:aws:sts::{ACCOUNT}:assumed-role/example/local" in lines
    statements = [line for line in lines if line.startswith("statement ")]
    # Policy, place and file of the statement that decided.
    assert [re.fullmatch(
        rf"statement          Allow: identity-based policy arn:aws:iam::{ACCOUNT}:policy/\w+, "
        r"statement 1, in account-authorization-details\.json: decides", line)
        is not None for line in statements] == [True], statements


@pytest.mark.parametrize(("profile", "admin", "role", "check"), [
    ("denied", False, "anybody", "policy"),
    ("admin", False, "admin", "action"),
])
def test_explain_a_refusal(server, profile, admin, role, check):
    token = server.token(profile, admin=admin)
    done = explain(server, role, token)
    assert (done.returncode, done.stderr) == (1, "")
    failed = [line for line in done.stdout.splitlines() if " FAILED: " in line]
    assert [line.split()[0] for line in failed] == [check]


def test_explain_shows_what_was_signed_and_no_secret(server):
    key = Key(server.key("admin").id, "not the secret of this key, but one as long")
    token = sign(key, "DbConnectAdmin", host="elsewhere.test", region="us-west-2")
    done = explain(server, "admin", token)
    assert "region             us-west-2   (the cluster's: us-east-1)" in done.stdout
    assert f"host               elsewhere.test   (the cluster's: {server.variables['DSQL_ENDPOINT']}, " in done.stdout
    wrong = sign(key, "DbConnectAdmin")
    done = explain(server, "admin", wrong)
    assert "signature          FAILED: " in done.stdout
    assert wrong.rpartition("=")[2] not in done.stdout
    assert key.secret not in done.stdout


def explain_json(server, role, token):
    done = explain(server, role, token, "--json")
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert set(answer) == {
        "is_admitted", "principal", "mapped_arn", "checks", "signed", "statements", "missing_context"}
    assert done.returncode == (0 if answer["is_admitted"] else 1)
    return answer


README = pathlib.Path(__file__).parents[2] / "README.md"
MAPPED = """\
 iam_oid |                    arn                    | pg_role_name
---------+-------------------------------------------+--------------
   26398 | arn:aws:iam::012345678912:role/x/reporter | reader
(1 row)
"""


def export(folder, action="dsql:DbConnect"):
    """The export of an account, with one role."""
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    role = {"RoleName": "reporter", "Arn": f"arn:aws:iam::{ACCOUNT}:role/x/reporter",
            "RolePolicyList": [{"PolicyName": "p", "PolicyDocument": {
                "Version": "2012-10-17", "Statement": statement}}]}
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "account.json"
    path.write_text(json.dumps({"UserDetailList": [], "RoleDetailList": [role]}))
    path.chmod(0o600)
    return folder


CALLER = {"UserId": "AROA:s", "Account": ACCOUNT,
          "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/reporter/s"}


def test_the_lines_for_a_login_that_aws_refused(server, tmp_path):
    lines = """\
mkdir -m 700 export && aws iam get-account-authorization-details --output json > export/account.json
aws sts get-caller-identity --output json | dsql-iam explain --role reader --caller-identity - --endpoint "$PGHOST" --iam-directory export
"""
    assert lines in README.read_text()
    account = (export(tmp_path / "aws") / "account.json").read_text()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "aws").write_text(
        f"#!/bin/sh\ncase $1 in\niam) cat <<'E'\n{account}\nE\n;;\n"
        f"sts) cat <<'E'\n{json.dumps(CALLER)}\nE\n;;\nesac\n")
    (tools / "aws").chmod(0o755)
    (tools / "dsql-iam").symlink_to(server.command)
    variables = without("DSQL_")
    done = subprocess.run(
        ["sh", "-c", lines], cwd=tmp_path, text=True, capture_output=True, timeout=60,
        env=variables | {"PATH": f"{tools}:{os.environ['PATH']}",
                         "PGHOST": "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws"})
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert f"principal          {CALLER['Arn']}" in said
    assert "policy             passed" in said
    assert "signature          not checked: there is no token" in said


def test_explain_without_a_secret(server, tmp_path):
    place = ["--cluster-arn", server.cluster_arn, "--iam-directory", export(tmp_path / "export")]
    (tmp_path / "mapped.txt").write_text(MAPPED)
    (tmp_path / "me.json").write_text(json.dumps(CALLER))
    who = ["--caller-identity", tmp_path / "me.json", "--mappings", tmp_path / "mapped.txt"]
    host = server.cluster_arn.rpartition("/")[2] + ".dsql-fnh4.us-east-1.on.aws:5432"
    key = Key("ASIAIOSFODNN7EXAMPLE", "nobody knows this secret", "nor this token")
    token = sign(key, "DbConnect", host=host)

    done = explain(server, "reader", token, *who, *place)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {"action             passed", "host               passed", "policy             passed",
            "mapping            passed"} <= set(lines)
    assert any(line.startswith("signature          not checked: the secret is not here") for line in lines)
    for secret in key.secret, "nor this token", token.rpartition("=")[2]:
        assert secret not in done.stdout
    # Without its signature too.
    cut = "&".join(part for part in token.split("&") if not part.startswith("X-Amz-Signature="))
    assert explain(server, "reader", cut, *who, *place).stdout == done.stdout

    # All that is wrong, at once, and what to do about each.
    export(tmp_path / "export", "dsql:GetCluster")
    done = explain(server, "ops", sign(key, "DbConnectAdmin", host, "eu-west-1"), *who, "--json", *place)
    assert (done.returncode, done.stderr) == (1, "")
    answer = json.loads(done.stdout)
    assert not answer["is_admitted"]
    failed = [(one["check_name"], one["remedy"]) for one in answer["checks"] if one["outcome"] == "failed"]
    arn = f"arn:aws:iam::{ACCOUNT}:role/x/reporter"
    assert failed == [
        ("action", "sign for a custom role: aws dsql generate-db-connect-auth-token, or dsql-iam token; "
                   "only admin takes DbConnectAdmin"),
        ("credential_scope", "sign for the cluster's region: --region us-east-1, or AWS_REGION=us-east-1"),
        ("policy", f"attach a policy to {arn} that allows dsql:DbConnect on {server.cluster_arn}"),
        ("mapping", f"as admin: AWS IAM GRANT \"ops\" TO '{arn}'; the ARN is mapped to reader"),
    ]


@pytest.mark.parametrize("arguments, fault", [
    (["--mappings", "x"], "--mappings goes with --principal or --caller-identity"),
    (["--caller-identity", "-", "--mappings", "-"], "cannot both be standard input"),
    (["--caller-identity", "-"], "-: not the output of aws sts get-caller-identity --output json: "),
])
def test_explain_says_which_input_is_at_fault(server, arguments, fault):
    done = explain(server, "reader", "Arn: x", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert fault in done.stderr


def test_explain_for_scripts(server):
    answer = explain_json(server, "anybody", server.token("example"))
    assert answer["is_admitted"]
    assert answer["principal"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/example/local"
    assert answer["mapped_arn"] == EXAMPLE_ARN
    names = [check["check_name"] for check in answer["checks"]]
    assert names[0] == "token" and names[-1] == "policy"
    assert all((check["outcome"], check["reason"]) == ("passed", None) for check in answer["checks"])
    assert len(answer["statements"]) == 1 and answer["statements"][0].startswith("Allow: ")
    assert answer["missing_context"] == []

    # A refusal, and what was signed; no secret, and nothing that tells the signature.
    key = Key(server.key("admin").id, "not the secret of this key, but one as long")
    token = sign(key, "DbConnectAdmin", region="us-west-2")
    answer = explain_json(server, "admin", token)
    assert not answer["is_admitted"] and answer["principal"] is None
    outcomes = {check["check_name"]: check["outcome"] for check in answer["checks"]}
    assert (outcomes["token"], outcomes["credential_scope"], outcomes["policy"]) == (
        "passed", "failed", "not reached")
    failed, = (check for check in answer["checks"] if check["outcome"] == "failed")
    assert "us-west-2" in failed["reason"]
    assert {"name": "region", "signed": "us-west-2", "expected": "us-east-1"} in answer["signed"]
    assert {"name": "action", "signed": "DbConnectAdmin", "expected": None} in answer["signed"]
    text = json.dumps(answer)
    assert key.secret not in text and token.rpartition("=")[2] not in text

    # Not a token at all.
    answer = explain_json(server, "admin", "hunter2")
    assert answer["signed"] == [] and answer["checks"][0]["outcome"] == "failed"
    assert "hunter2" not in json.dumps(answer)


def test_explain_as_of_a_time(server):
    token = server.token("example")
    done = explain(server, "anybody", token, "--at", "2040-01-01T00:00:00Z")
    assert "time               FAILED: the token expired" in done.stdout
    assert done.returncode == 1


# botocore's published vectors: SECRET_KEY, 2024-11-07T17:39:33Z, good for 900 s.
VECTOR_HOST = "test.dsql.us-east-1.on.aws"
VECTORS = {
    "DbConnect": "57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4",
    "DbConnectAdmin": "5ac084bc7cabccc19a52a5d1b5c24b50d3ce143f43b659bd484c91aaf555e190",
}


def vector(action):
    return (f"{VECTOR_HOST}/?Action={action}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
            "ACCESS_KEY%2F20241107%2Fus-east-1%2Fdsql%2Faws4_request&X-Amz-Date=20241107T173933Z"
            "&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=SESSION_TOKEN"
            f"&X-Amz-Signature={VECTORS[action]}")


@pytest.fixture
def vectors(server, tmp_path):
    """Explains a vector by documents in which its key is a session of a role that may connect."""
    allow = [{"PolicyName": "connect", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
        {"Sid": "Connect", "Effect": "Allow", "Action": "dsql:DbConnect", "Resource": "*"}]}}]
    documents = {"roles.json": account(roles={"App": allow}),
                 "session.json": assumed_role("App", Key("ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN"))}
    for name, document in documents.items():
        path = tmp_path / name
        path.write_text(json.dumps(document))
        path.chmod(0o600)
    variables = os.environ | server.variables
    variables.pop("DSQL_CLUSTER_ARN")

    def explained(action, *arguments):
        role = "admin" if action == "DbConnectAdmin" else "reader"
        return server.run("explain", "--iam-directory", tmp_path, "--role", role, *arguments,
                          input=vector(action) + "\n", env=variables)

    return explained


def test_explain_a_published_vector(server, vectors):
    cluster = ["--cluster-arn", server.cluster_arn, "--endpoint", VECTOR_HOST]
    at = ["--at", "2024-11-07T17:54:33Z"]
    done = vectors("DbConnect", *cluster, *at)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" passed\n") == 10
    assert done.stdout.splitlines()[-1] == (
        "statement          Allow: identity-based policy inline policy connect of "
        f"arn:aws:iam::{ACCOUNT}:role/App, statement 1 (Connect), in roles.json: decides")
    # The signature is right as well, and the policy has its say.
    done = vectors("DbConnectAdmin", *cluster, *at)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and "signature          passed" in lines
    assert [line.partition(":")[0] for line in lines if "FAILED" in line] == [
        "policy             FAILED"]
    done = vectors("DbConnect", *cluster, "--at", "2024-11-07T17:54:34Z")
    assert "time               FAILED: the token expired" in done.stdout
    done = vectors("DbConnect", *cluster)
    assert "time               FAILED: the token expired" in done.stdout
    for text in [*VECTORS.values(), "SECRET_KEY", "SESSION_TOKEN"]:
        assert text not in done.stdout + done.stderr


def test_explain_without_the_clusters_arn(server, vectors):
    """The cluster is the endpoint's, in the account of the documents."""
    at = ["--at", "2024-11-07T17:54:33Z"]
    region, name = server.cluster_arn.split(":")[3], server.cluster_arn.partition("/")[2]
    host = f"{name}.dsql.{region}.on.aws"
    done = vectors("DbConnect", "--endpoint", f"{host},{VECTOR_HOST}", *at)
    assert (done.returncode, done.stderr) == (0, "")
    done = vectors("DbConnect", "--endpoint", host, "--region", region, *at)
    assert f"host               FAILED: the token was signed for host {VECTOR_HOST}" in done.stdout
    done = vectors("DbConnect", "--endpoint", f"{host},{VECTOR_HOST}", "--region", "eu-west-1", *at)
    assert "region             us-east-1   (the cluster's: eu-west-1)" in done.stdout
    done = vectors("DbConnect", "--region", region, *at)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", "dsql-iam: which cluster it is, is not known: name it with --cluster-arn or "
        "DSQL_CLUSTER_ARN, or its host name (ID.dsql.REGION.on.aws) with --endpoint\n")


def test_simulate_a_principal(server):
    done = server.run("simulate-principal-policy", "--policy-source-arn", EXAMPLE_ARN,
                      "--action-names", "dsql:DbConnect", "dsql:DbConnectAdmin",
                      "--resource-arns", server.cluster_arn)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(done.stdout)["EvaluationResults"]
    assert [(result["EvalActionName"], result["EvalDecision"]) for result in results] == [
        ("dsql:DbConnect", "allowed"), ("dsql:DbConnectAdmin", "implicitDeny")]


def test_faults_are_named(server):
    done = server.run("simulate-principal-policy", "--action-names", "a:b",
                      "--policy-source-arn", f"arn:aws:iam::{ACCOUNT}:role/nobody")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"dsql-iam: arn:aws:iam::{ACCOUNT}:role/nobody is in no document of ")
    done = explain(server, "admin", "", "--cluster-arn", "nonsense")
    assert (done.returncode, done.stderr) == (
        1, "dsql-iam: nonsense is not the ARN of a cluster\n")


# The same, asked of the server

def explained(server, role, token, connection):
    rows = connection.execute("SELECT * FROM sys.explain_token(%s, %s)", (role, token)).fetchall()
    return {name: (outcome, reason) for name, outcome, reason in rows
            if outcome not in ("statement", "signed", "not known here")}


def test_secrets_in_passing_a_token_is_explained_without_its_signature(server, role):
    """A reader of the statement cannot log in with it."""
    name = role("unsigned")
    token = server.token("example")
    whole, _, signature = token.partition("&X-Amz-Signature=")
    assert len(signature) == 64
    why = "the token was given without its signature; a login needs it"
    with server.connect() as admin:
        admin.execute(f"AWS IAM GRANT unsigned TO '{EXAMPLE_ARN}'")
        for cut in (whole, f"{whole}&X-Amz-Signature=", f"{token[:-1]}", f"{whole}&"):
            rows = explained(server, name, cut, admin)
            assert rows.pop("signature") == ("not looked at", why)
            assert set(rows.values()) == {("passed", None)} and {"role", "mapping", "policy"} < set(rows)
            done = explain(server, name, cut)
            assert done.returncode == 1 and f"signature          not looked at: {why}\n" in done.stdout
            assert done.stdout.count(" passed\n") == 9
            answer = explain_json(server, name, cut)
            assert not answer["is_admitted"] and answer["principal"] is not None
            # It is for explanations only.
            error = server.refusal(name, cut)
            assert (error.sqlstate, error.message, error.hint[:9]) == ("08006", DENIED, "AWS query")
        admin.execute(f"AWS IAM REVOKE unsigned FROM '{EXAMPLE_ARN}'")
        assert explained(server, name, whole, admin)["mapping"][0] == "failed"
        # Other checks still fail; and a signature that is there is verified.
        rows = explained(server, "admin", whole, admin)
        assert (rows["action"][0], rows["signature"]) == ("failed", ("not reached", None))
        for other in (f"{whole}&X-Amz-Signature={'0' * 64}", f"{whole}&X-Amz-Signature=nothex"):
            rows = explained(server, name, other, admin)
            assert "failed" in {rows[check][0] for check in ("signature", "token")}


def test_explain_token(server, role):
    name = role("explained")
    with server.connect() as admin:
        rows = explained(server, name, server.token("example"), admin)
        assert rows["policy"] == ("passed", None)
        assert rows["role"] == ("passed", None)
        assert rows["mapping"] == (
            "failed", f"{EXAMPLE_ARN} is not mapped to role {name} (AWS IAM GRANT)")
        admin.execute(f"AWS IAM GRANT explained TO '{EXAMPLE_ARN}'")
        rows = explained(server, name, server.token("example"), admin)
        assert {outcome for outcome, _ in rows.values()} == {"passed"}
        rows = explained(server, "nobody", server.token("example"), admin)
        assert rows["role"] == ("failed", "role nobody does not exist")
        rows = explained(server, name, server.token("denied", admin=False), admin)
        assert rows["policy"][0] == "failed"
        assert rows["mapping"] == ("not reached", None)
        rows = explained(server, name, "hunter2", admin)
        assert rows["token"][0] == "failed"
        statement = admin.execute(
            "SELECT reason FROM sys.explain_token(%s, %s) WHERE outcome = 'statement'",
            (name, server.token("example"))).fetchone()
        assert statement[0].startswith("Allow: identity-based policy ")
        assert re.search(r", in \S+\.json: decides$", statement[0])
        # The string that was signed and the one that the cluster expects, without the signature.
        key = Key(server.key("admin").id, "not the secret of this key, but one as long")
        wrong = sign(key, "DbConnectAdmin", host="elsewhere.test", region="us-west-2")
        rows = admin.execute("SELECT check_name, outcome, reason FROM sys.explain_token('admin', %s)",
                             (wrong,)).fetchall()
        signed = {name: reason for name, outcome, reason in rows if outcome == "signed"}
        assert list(signed) == ["host", "region", "service", "date of the scope", "action",
                                "signed at", "good for"]
        assert signed["host"].startswith(f"elsewhere.test   (the cluster's: {server.variables['DSQL_ENDPOINT']}, ")
        assert signed["region"] == "us-west-2   (the cluster's: us-east-1)"
        assert signed["service"] == "dsql" and signed["action"] == "DbConnectAdmin"
        wrong = sign(key, "DbConnectAdmin")
        rows = admin.execute("SELECT check_name, outcome, reason FROM sys.explain_token('admin', %s)",
                             (wrong,)).fetchall()
        assert ("signature", "failed") in {(name, outcome) for name, outcome, _ in rows}
        assert ("host", "signed", "localhost") in rows
        assert wrong.rpartition("=")[2] not in str(rows) and key.secret not in str(rows)
        # A policy that asks for a key which nobody knows here.
        asks = {"UserName": "asks", "Arn": f"arn:aws:iam::{ACCOUNT}:user/asks", "UserPolicyList": [
            {"PolicyName": "p", "PolicyDocument": {"Statement": [
                {"Effect": "Allow", "Action": "dsql:*", "Resource": "*",
                 "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}]}}]}
        key = Key("AKIAASKSFORUNKNOWN01", "the-secret-of-one-who-asks-for-more")
        with server.documents(asks={"UserDetailList": [asks]}, key=access_key("asks", key)):
            rows = admin.execute("SELECT * FROM sys.explain_token(%s, %s)",
                                 (name, sign(key, "DbConnect"))).fetchall()
        assert ("policy", "not known here", "aws:SourceVpc") in rows
    with server.superuser() as superuser:
        assert explained(server, "admin", server.token("admin"), superuser)["policy"][0] == "passed"
    with server.connect(name) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            explained(server, name, server.token("example"), connection)


def test_the_readme_simulates_what_the_login_is_allowed(server):
    """For the same principal, action and cluster as the login above it."""
    readme = (pathlib.Path(os.environ["WORKSPACE"]) / "README.md").read_text()
    line = re.search(r"^dsql-iam (simulate-principal-policy .*)$", readme, re.MULTILINE)[1]
    done = server.run(*(server.variables[word.strip('"$')] if word.startswith('"$') else word
                        for word in line.split()))
    assert (done.returncode, done.stderr) == (0, "")
    [result] = json.loads(done.stdout)["EvaluationResults"]
    assert result["EvalDecision"] == "allowed"
    assert explain_json(server, "reader", server.token("example"))["is_admitted"]


def test_the_help_groups_the_commands(server):
    help = server.run("--help").stdout
    headings = re.findall(r"^(\S.*):$", help, re.MULTILINE)
    assert headings == ["Clients", "IAM documents", "Servers", "Other", "Options",
                        "Example, with the server of cargo xtask up"]
    assert re.search(r"^  doctor +Diagnose a server$", help, re.MULTILINE)


OVER_THE_NETWORK = ("come over the network, which dsql-iam does not use: get them with AWS's tools first, by "
                    "aws configure export-credentials --format env")


@pytest.mark.parametrize("profile", [
    "sso_session = s\nsso_account_id = 012345678912\nsso_role_name = r\n\n[sso-session s]\n"
    "sso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start",
    "sso_account_id = 012345678912\nsso_role_name = r\nsso_region = us-east-1\n"
    "sso_start_url = https://example.awsapps.com/start",
    "login_session = arn:aws:iam::012345678912:user/a",
    "role_arn = arn:aws:iam::012345678912:role/r\ncredential_source = Ec2InstanceMetadata",
])
def test_a_profile_that_needs_the_network(server, tmp_path, profile):
    config = tmp_path / "config"
    config.write_text(f"[profile fetched]\nregion = us-east-1\n{profile}\n")
    for command in (["token", "--hostname", "localhost"],
                    ["assume-role", "--role-arn", "arn:aws:iam::012345678912:role/r",
                     "--role-session-name", "s", "--iam-directory", tmp_path]):
        done = server.run(*command, "--profile", "fetched", env=os.environ | {"AWS_CONFIG_FILE": str(config)})
        assert (done.returncode, done.stdout) == (1, "")
        assert f"this profile's credentials {OVER_THE_NETWORK}" in done.stderr, done.stderr
        assert "cargo" not in done.stderr


@pytest.mark.parametrize("variable", [
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
])
def test_credentials_that_a_pod_would_fetch(server, tmp_path, variable):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {variable: "http://127.0.0.1/", "AWS_REGION": "us-east-1", "HOME": str(tmp_path)}
    done = server.run("token", "--hostname", "localhost", env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"dsql-iam: no AWS credentials found but those of {variable}, which {OVER_THE_NETWORK}\n")
