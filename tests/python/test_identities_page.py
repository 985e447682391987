"""The documents of docs/identities.md are loaded by a server, and each does what the page says of it."""

import json
import os
import pathlib
import re

import pytest

from support import REGION, Key, access_key, account, sign

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
PAGE = (WORKSPACE / "docs/identities.md").read_text()
BLOCKS = dict(re.findall(r"^```json file=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
REPORTING = "arn:aws:iam::012345678912:role/reporting"


def key_of(name):
    document = json.loads(BLOCKS[name])
    found = document.get("AccessKey") or document["Credentials"]
    return Key(found["AccessKeyId"], found["SecretAccessKey"], found.get("SessionToken"))


@pytest.fixture
def loaded(own, role):
    """All documents of the page, for the cluster that this server is, and a role mapped as it says."""
    role("reports", on=own)
    own.execute(f"SELECT sys.iam_grant('reports', '{REPORTING}')")
    for name, text in BLOCKS.items():
        own.write(own.iam / name, text.replace("abcdefghijklmnopqrstuvwxyz", own.cluster_id))
    yield own
    for name in BLOCKS:
        (own.iam / name).unlink(missing_ok=True)


def as_alice():
    return "admin", sign(key_of("alice-key.json"), "DbConnectAdmin", region=REGION)


def as_session(name="reporting-session.json"):
    return "reports", sign(key_of(name), "DbConnect", region=REGION)


def refusal(server, login):
    return server.refusal(*login).hint


def test_the_page_has_one_document_of_each_kind():
    assert sorted(BLOCKS) == [
        "account.json", "alice-key.json", "cluster-policy.json", "cluster.json", "context.json",
        "narrowed-session.json", "reporting-session.json", "service-control.json"]


def test_they_let_in_whom_they_should(loaded):
    for login in (as_alice(), as_session(), as_session("narrowed-session.json")):
        assert loaded.admits(*login)


def test_the_boundary_limits_the_user(loaded):
    account = BLOCKS["account.json"].replace('"dsql:*"', '"dsql:DbConnect"')
    loaded.write(loaded.iam / "account.json", account)
    assert refusal(loaded, as_alice()).endswith(
        "because no permissions boundary allows the dsql:DbConnectAdmin action")
    assert loaded.admits(*as_session())


def test_without_the_tag_the_role_is_refused(loaded):
    (loaded.iam / "cluster.json").unlink()
    assert refusal(loaded, as_session()).endswith(
        "because no identity-based policy allows the dsql:DbConnect action")
    assert loaded.admits(*as_alice())


def test_without_the_context_entry_the_clusters_policy_denies(loaded):
    (loaded.iam / "context.json").unlink()
    for login in (as_alice(), as_session()):
        assert refusal(loaded, login).endswith("with an explicit deny in a resource-based policy")


def test_the_service_control_policy_denies_others_of_the_account(loaded):
    login = "admin", loaded.token("admin")
    assert refusal(loaded, login).endswith("with an explicit deny in a service control policy")
    (loaded.iam / "service-control.json").unlink()
    assert loaded.admits(*login)


def test_the_narrowed_session_is_for_one_cluster(loaded):
    # As it stands, for a cluster that this one is not.
    loaded.write(loaded.iam / "narrowed-session.json", BLOCKS["narrowed-session.json"])
    assert refusal(loaded, as_session("narrowed-session.json")).endswith(
        "because no session policy allows the dsql:DbConnect action")
    # Without the request it is not known by what it was narrowed.
    document = json.loads(BLOCKS["narrowed-session.json"])
    del document["Request"]
    loaded.write(loaded.iam / "narrowed-session.json", json.dumps(document))
    mark = loaded.log_mark()
    assert not loaded.admits(*as_session("narrowed-session.json"))
    assert "in no document" in loaded.logged("login refused", mark)
    assert loaded.admits(*as_session())


def test_an_inactive_key_is_refused(loaded):
    loaded.write(loaded.iam / "alice-key.json", BLOCKS["alice-key.json"].replace("Active", "Inactive"))
    assert refusal(loaded, as_alice()) == "The security token included in the request is invalid."


def with_condition(condition):
    document = json.loads(BLOCKS["account.json"])
    statement = document["Policies"][0]["PolicyVersionList"][0]["Document"]["Statement"][0]
    statement["Condition"] = condition
    return json.dumps(document)


# Each message of the page's last table: the file's text and mode that bring it.
FAULTS = {
    "holds a secret but has mode 0644; it must be 0600": (BLOCKS["alice-key.json"], 0o644),
    "EOF while parsing": (BLOCKS["account.json"][:100], 0o600),
    'unknown condition operator "StringEqual"': (
        with_condition({"StringEqual": {"aws:username": "x"}}), 0o600),
    "holds the output of more than one command; each needs a file of its own": (
        json.dumps(json.loads(BLOCKS["account.json"]) | json.loads(BLOCKS["alice-key.json"])), 0o600),
    "IsTruncated is true: the export is incomplete": (
        json.dumps(account() | {"IsTruncated": True}), 0o600),
    "there is a NextToken: the export is incomplete": (
        json.dumps(account() | {"NextToken": "eyJNYXJrZXIiOiBudWxsfQ=="}), 0o600),
    "a member is null; it has a value, or is not there": (with_condition(None), 0o600),
    "a variable of a template, which was not filled in": (
        with_condition({"StringEquals": {"aws:username": "${AWS::AccountId}"}}), 0o600),
    "is a function of a template": (
        with_condition({"StringEquals": {"aws:username": {"Fn::Sub": "a"}}}), 0o600),
    "it is not JSON": ("UserDetailList: []\n", 0o600),
    "it is in UTF-16": (BLOCKS["account.json"].encode("utf-16-le").decode("latin-1"), 0o600),
    "it starts with a byte order mark": ("\ufeff" + BLOCKS["account.json"], 0o600),
    "duplicate": (json.dumps(access_key("bob", key_of("alice-key.json"))), 0o600),
    "credentials without their owner": (
        json.dumps({"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}), 0o600),
    "not the output of get-account-authorization-details, create-access-key": ('{"users": []}', 0o600),
}


def test_the_page_lists_these_faults():
    table = PAGE.partition("## When a document is broken")[2]
    assert re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE) == list(FAULTS)


@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_document_is_named_and_changes_nothing(loaded, message):
    assert loaded.admits(*as_alice())
    text, mode = FAULTS[message]
    mark = loaded.log_mark()
    loaded.write(loaded.iam / "zz-broken.json", text, mode=mode)
    try:
        assert loaded.admits(*as_alice())
        assert not loaded.admits("admin", loaded.token("admin"))
        line = loaded.logged(message, mark)
        assert f'{loaded.iam}/zz-broken.json"' in line
        assert line.endswith("the identities loaded before stay in force")
    finally:
        (loaded.iam / "zz-broken.json").unlink()


def test_the_command_loads_them_too(loaded):
    role, token = as_session()
    done = loaded.run("explain", "--role", role, "--iam-directory", loaded.iam, "--cluster-arn",
                      loaded.cluster_arn, input=token)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arn:aws:iam::012345678912:policy/connect-to-test" in done.stdout
