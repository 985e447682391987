"""The command `dsql-iam`, as a shell runs it."""

import json
import os
import subprocess

import psycopg
import pytest

from support import ACCOUNT, EXAMPLE_ARN, Key, sign


def run(server, *arguments, stdin=""):
    return subprocess.run([server.command, *arguments], input=stdin, text=True,
                          capture_output=True, env=os.environ | server.variables, timeout=60)


def explain(server, role, token, *more):
    return run(server, "explain", "--role", role, *more, stdin=token + "\n")


def test_explain_an_admission(server):
    done = explain(server, "anybody", server.token("example"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "policy             passed" in lines
    assert f"principal          arn:aws:sts::{ACCOUNT}:assumed-role/example/local" in lines
    assert any(line.startswith("statement          Allow: identity-based policy ")
               for line in lines)


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
    assert "host               elsewhere.test   (the cluster's: localhost, " in done.stdout
    wrong = sign(key, "DbConnectAdmin")
    done = explain(server, "admin", wrong)
    assert "signature          FAILED: " in done.stdout
    assert wrong.rpartition("=")[2] not in done.stdout
    assert key.secret not in done.stdout


def test_explain_as_of_a_time(server):
    token = server.token("example")
    done = explain(server, "anybody", token, "--at", "2040-01-01T00:00:00Z")
    assert "time               FAILED: the token expired" in done.stdout
    assert done.returncode == 1


def test_simulate_a_principal(server):
    done = run(server, "simulate-principal-policy", "--policy-source-arn", EXAMPLE_ARN,
               "--action-names", "dsql:DbConnect", "dsql:DbConnectAdmin",
               "--resource-arns", server.cluster_arn)
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(done.stdout)["EvaluationResults"]
    assert [(result["EvalActionName"], result["EvalDecision"]) for result in results] == [
        ("dsql:DbConnect", "allowed"), ("dsql:DbConnectAdmin", "implicitDeny")]


def test_faults_are_named(server):
    done = run(server, "simulate-principal-policy", "--action-names", "a:b",
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
    return {name: (outcome, reason) for name, outcome, reason in rows if outcome != "statement"}


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
    with server.superuser() as superuser:
        assert explained(server, "admin", server.token("admin"), superuser)["policy"][0] == "passed"
    with server.connect(name) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            explained(server, name, server.token("example"), connection)
