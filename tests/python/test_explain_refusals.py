"""`dsql-iam explain --principal`, without a secret, says of a login what the server says that refuses it.

docs/troubleshooting.md has each reason of the server, which a test of `server` compares with the code. Here each has a
case, or the reason why nobody can tell it from outside of the server; a new one fails until it has its row.
"""

import datetime
import json
import pathlib
import os
import re

import pytest

from support import ACCOUNT, REGION, Key, access_key, account, assumed_role, policy, sign, without

PAGE = (pathlib.Path(os.environ["WORKSPACE"]) / "docs/troubleshooting.md").read_text()
ID = "a" * 26
CLUSTER = f"arn:aws:dsql:{REGION}:{ACCOUNT}:cluster/{ID}"
HOST = f"{ID}.dsql.{REGION}.on.aws"
USER = f"arn:aws:iam::{ACCOUNT}:user/"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
# Nobody knows its secret, as on AWS.
KEY = Key("AKIA" + "X" * 16, "not the secret of anybody, nor known here")
SESSION = Key("ASIA" + "X" * 16, "not the secret of anybody, nor known here", "a-session-token")


def reasons():
    """Check and reason, where there is a sentence of the HINT's for it that one."""
    checks = PAGE.partition("\n## Each check\n")[2].partition("\n## ")[0]
    check = hint = None
    for line in checks.splitlines():
        if line.startswith("### "):
            check = line.removeprefix("### ")
        elif found := re.match(r"[0-9A-Z]{5}, HINT `(.*)`:$", line):
            hint = found[1]
        elif found := re.match(r"- `(.*?)`: ", line):
            yield check, hint if found[1].endswith(" …") else found[1]


def token(key=KEY, action="DbConnect", **more):
    return sign(key, action, **{"host": HOST} | more)


def documents(**more):
    """An account's export: a user and a role that may connect, and one of each that may not."""
    export = account({"may": [policy("dsql:*")], "may-not": [policy("s3:*")],
                      "denied": [policy("dsql:*", effect="Deny")], "grouped": [policy("dsql:*")]},
                     {"app": [policy("dsql:*")]})
    export["UserDetailList"][-1]["GroupList"] = ["not-exported"]
    return {"account": export} | more


def status(word):
    return documents(cluster={"identifier": ID, "arn": CLUSTER, "status": word})


def hard_work():
    """A policy whose conditions take more steps than one request may."""
    patterns = [f"*{'a' * 100}{number}b" for number in range(55)]
    many = {"ForAnyValue:StringLike": {"aws:TagKeys": patterns}}
    export = account({"may": [policy("dsql:*", Condition=many)]})
    return {"account": export, "context": {"ContextEntries": [
        {"ContextKeyName": "aws:TagKeys", "ContextKeyValues": [str(number) + "a" * 2000 for number in range(8)],
         "ContextKeyType": "stringList"}]}}


NOW = datetime.datetime.now(datetime.UTC)
MAPPED = json.dumps([{"arn": ROLE, "pg_role_name": "other"}])
RAW = token()
OVER = assumed_role("app", SESSION, expiration="2026-01-01T00:00:00+00:00")


class Told:
    """A login that fails, as it is told to `explain`."""

    def __init__(self, token=None, principal=f"{USER}may", role="reader", documents=documents(), mapped=None, at=None,
                 arguments=(), fault=None):
        self.token, self.principal, self.role, self.documents = token or "", principal, role, documents
        self.mapped, self.arguments = mapped, list(arguments)
        # The command's own error, where nothing is explained at all.
        self.fault = fault


def cut(name):
    return "&".join(part for part in RAW.split("&") if not part.startswith(f"{name}="))


CASES = {
    "the password is not an authentication token (HOST/?Action=…)": Told("an ordinary password"),
    "the token is longer than 65536 bytes": Told(RAW + "x" * 66_000),
    "the token's host is empty, longer than 255 bytes or holds characters that no host name has":
        Told("https://" + RAW),
    "PARAMETER occurs more than once in the token": Told(RAW + "&Action=DbConnect"),
    "PARAMETER is missing from the token": Told(cut("X-Amz-Date")),
    "unknown query parameter in the token": Told(RAW + "&More=x"),
    "the password is a presigned request for the service SERVICE, not a token for dsql":
        Told(sign(KEY, "connect", host="db.test:5432", service="rds-db", DBUser="reader")),
    "X-Amz-Expires is more than 604800 seconds": Told(token(expires=604_801)),
    "PARAMETER is invalid": Told(token(X_Amz_Date="yesterday")),
    "the credential scope's date DAY is not the date of X-Amz-Date, DATE": Told(token(scope_date="20200101")),
    "the token was signed for region REGION, the cluster is in CLUSTER": Told(token(region="eu-west-1")),
    "the token was signed for service SERVICE, not dsql": Told(token(service="s3")),
    "the credential scope ends in WORD, not in aws4_request": Told(token(terminator="aws5_request")),
    "role ROLE cannot be used with action DbConnect": Told(token(), role="admin"),
    "the token was signed for host HOST, which is not an endpoint of the cluster": Told(token(host="db.test")),
    "the token was signed for host HOST, a loopback name, which is not an endpoint of the cluster: "
    "loopback_endpoints is off": Told(token(host="localhost")),
    "the token expired: signed SIGNED, good for 900 s, now NOW": Told(token(at=NOW - datetime.timedelta(hours=1))),
    "the token is not yet valid: signed SIGNED, now NOW": Told(token(at=NOW + datetime.timedelta(hours=1))),
    "no IAM identities are loaded: WHAT IS WRONG": Told(
        documents={"account": {"UserDetailList": 1}}, fault=r".*/account\.json\": invalid type: integer.*"),
    "access key KEY is not active": Told(token(), documents=documents(
        key=access_key("may", KEY, status="Inactive"))),
    "access key KEY belongs to OWNER, and several accounts have one: its document has to say which, with AccountId":
        Told(token(), documents=documents(
            key=access_key("may", KEY), other=account({"may": []}, number="999999999999"))),
    "the session token is not the one that belongs to access key KEY": Told(
        token(Key(KEY.id, KEY.secret, "a session token")), principal=f"{USER}may"),
    "the session of access key KEY ended at DATE": Told(
        token(SESSION), principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/local", documents=documents(session=OVER)),
    "PRINCIPAL belongs to another account than the cluster": Told(
        principal="arn:aws:iam::999999999999:user/stranger",
        documents=documents(other=account({"stranger": [policy("dsql:*")]}, number="999999999999"))),
    "User: PRINCIPAL is not authorized to perform: dsql:DbConnect on resource: CLUSTER because no identity-based "
    "policy allows the dsql:DbConnect action": Told(principal=f"{USER}may-not"),
    "User: PRINCIPAL is not authorized to perform: dsql:DbConnect on resource: CLUSTER with an explicit deny in an "
    "identity-based policy": Told(principal=f"{USER}denied"),
    "User: PRINCIPAL is not authorized to perform: dsql:DbConnect on resource: CLUSTER because WHAT IS MISSING is in "
    "no document": Told(principal=f"{USER}grouped"),
    "User: PRINCIPAL is not authorized to perform: dsql:DbConnect on resource: CLUSTER because its policies take more "
    "work than one request may: no decision": Told(documents=hard_work()),
    "ARN is not mapped to role ROLE (AWS IAM GRANT)": Told(principal=ROLE, mapped=MAPPED),
    "the status of the cluster is INACTIVE in its document (get-cluster)": Told(documents=status("INACTIVE")),
    "the status of the cluster is STATUS in its document (get-cluster)": Told(documents=status("DELETED")),
    'dsql_iam is not configured: account_id must be twelve digits, not "VALUE"': Told(
        arguments=["--cluster-arn", f"arn:aws:dsql:{REGION}:12:cluster/{ID}"], fault=".*twelve digits.*"),
    'dsql_iam is not configured: region must look like "us-east-1", not "VALUE"': Told(
        arguments=["--region", "x"], fault='region must look like "us-east-1", not "x"'),
    'dsql_iam is not configured: cluster_id must be 26 characters of a-z and 0-9, not "VALUE"': Told(
        arguments=["--cluster-arn", f"arn:aws:dsql:{REGION}:{ACCOUNT}:cluster/x"], fault=".*26 characters.*"),
    'dsql_iam is not configured: endpoints must be a list of host names, not "VALUE"': Told(
        arguments=["--endpoint", "a b"], fault='endpoints must be a list of host names, not "a b"'),
    "dsql_iam is not configured: linked_clusters must be a list of ID@REGION, each of another id and region than the "
    "cluster's and the others', not \"VALUE\"": Told(
        arguments=["--linked", "x"], fault='linked_clusters must be a list of ID@REGION, .* not "x"'),
}

# Reasons that neither documents nor token tell, and where it is said that they were not looked at.
CONNECTION = "of the connection: its place is the check of this name, not checked, which says what it takes"
SECRET = "it takes the secret: the check `signature` is not checked, which says what to compare"
SERVER = "of the server's own state"
NOT_KNOWN = {
    "the connection is not encrypted, and dsql_iam.require_tls is on": ("tls", CONNECTION),
    "the client names another cluster: server name NAME": ("cluster", CONNECTION),
    "the client sent no server name (SNI), and dsql_iam.require_sni is on": ("cluster", CONNECTION),
    "the client sent the server name (SNI) NAME, which is not an endpoint, and dsql_iam.require_sni is on":
        ("cluster", CONNECTION),
    "database NAME was asked for; there is only postgres": ("database", CONNECTION),
    "the client sets the parameter NAME, and dsql_iam.restrict_parameters is on": ("parameter", CONNECTION),
    "role ROLE does not exist": ("role", CONNECTION),
    "the limit dsql_iam.max_connections is reached": ("limit", CONNECTION),
    "the rate limit dsql_iam.max_connection_rate is reached": ("limit", CONNECTION),
    "the signature does not verify with the secret of access key KEY": ("signature", SECRET),
    "the signature of access key KEY is for the host in lower case, and the token has it in capitals":
        ("signature", SECRET),
    "access key KEY is not known": ("access_key", "an export has no keys: said to be not known, and when that matters"),
    "access key KEY belongs to OWNER, which is in no document":
        (None, "the principal is given; one in no document fails by itself"),
    "the stored session of the access key is not used: WHAT IS WRONG": (None, "sessions are stored by this server alone"),
    "MESSAGE: WHAT CAME": (None, "of the protocol: no token came"),
    "MESSAGE": (None, SERVER),
    "an internal error occurred: WHERE": (None, SERVER),
}


def test_each_reason_of_the_server_has_its_row():
    told = {reason for _, reason in reasons()}
    assert len(told) > 40
    assert set(CASES) | set(NOT_KNOWN) == told
    assert not set(CASES) & set(NOT_KNOWN)


def explained(server, tmp_path, told):
    tmp_path.chmod(0o700)
    for name, document in told.documents.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
    arguments = ["--role", told.role, "--principal", told.principal, "--iam-directory", tmp_path, *told.arguments]
    if "--cluster-arn" not in told.arguments:
        arguments += ["--cluster-arn", CLUSTER]
    if told.mapped:
        mapped = tmp_path / "mapped.txt"
        mapped.write_text(told.mapped)
        arguments += ["--mappings", mapped]
    return server.run("explain", "--json", *arguments, input=told.token, env=without("DSQL_"))


def pattern(reason):
    """The reason with anything for its words in capitals, of which the case may choose others."""
    text = re.escape(reason).replace("DbConnect", "DbConnect(Admin)?")
    return re.sub(r"\b(?!INACTIVE|IAM|GRANT|AWS|ID)[A-Z]{2,}(\\ [A-Z]{2,})*\b", ".*", text)


@pytest.mark.parametrize("check, reason", [case for case in reasons() if case[1] in CASES], ids=lambda text: text[:60])
def test_explain_says_the_same(server, tmp_path, check, reason):
    told = CASES[reason]
    done = explained(server, tmp_path, told)
    assert done.returncode == 1
    if told.fault:
        assert re.search(told.fault, done.stderr), done.stderr
        return
    failed = {(one["check_name"], one["reason"]): one["remedy"]
              for one in json.loads(done.stdout)["checks"] if one["outcome"] == "failed"}
    found = [key for key in failed if key[0] == check and re.fullmatch(pattern(reason), key[1])]
    assert found, failed
    assert all(failed[key] for key in found), failed


@pytest.mark.parametrize("check, why", sorted({row for row in NOT_KNOWN.values() if row[0]}), ids=str)
def test_explain_says_what_it_did_not_look_at(server, tmp_path, check, why):
    done = explained(server, tmp_path, Told(token()))
    found, = [one for one in json.loads(done.stdout)["checks"] if one["check_name"] == check]
    assert found["outcome"] == "not checked" and found["reason"], why
