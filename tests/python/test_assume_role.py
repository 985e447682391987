"""`dsql-iam assume-role`, and profiles that get their credentials from it."""

import datetime
import json
import os
import shlex
import shutil
import subprocess

import boto3
import pytest
from botocore.exceptions import CredentialRetrievalError

from assumable import (ALICE, BOB, CHAINED, OTHER_ACCOUNT, OVER, STRANGER, end_session,
                       five_minutes_before_the_end, frozen_key, identities, role_arn, session_key,
                       session_path, stored, token, trust, with_roles)
from support import ACCOUNT, EXAMPLE_ARN, Key, for_anyone, policy

@pytest.fixture(scope="module")
def iam(own):
    with identities(own) as server:
        yield server


def environment(server, key=None):
    variables = os.environ | server.variables
    if key:
        variables |= {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}
        if key.session_token:
            variables["AWS_SESSION_TOKEN"] = key.session_token
    return variables


def run(server, key, *arguments, role="delegating", name="s1", **more):
    program = for_anyone(server.command) if "user" in more else server.command
    command = [program, "assume-role", "--role-arn",
               role if role.startswith("arn:") else role_arn(role),
               "--role-session-name", name, *arguments]
    done = subprocess.run(command, env=environment(server, key), text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=60, **more)
    for secret in (key and (key.secret, key.session_token)) or ():
        assert not secret or secret not in done.stdout + done.stderr
    return done


def refusal(server, key, *arguments, **more):
    before = stored(server)
    done = run(server, key, *arguments, **more)
    assert (done.returncode, done.stdout) == (1, "")
    assert stored(server) == before, "a session was stored"
    assert not list(server.iam.glob(".*"))
    return done.stderr


def assume(server, key, *arguments, **more):
    done = run(server, key, *arguments, **more)
    assert (done.returncode, done.stderr) == (0, "")
    response = json.loads(done.stdout)
    return response, session_key(response["Credentials"])


def test_a_command_line_with_the_cluster_goes_on_working(iam):
    assume(iam, ALICE, "--cluster-arn", iam.cluster_arn)


@pytest.mark.parametrize(("key", "code"), [
    (Key(ALICE.id, "not the secret of alice, but one as long"), "SignatureDoesNotMatch"),
    (Key("AKIA" + "N" * 16, ALICE.secret), "InvalidClientTokenId"),
    (Key(ALICE.id, ALICE.secret, "a session token where there is none"), "InvalidClientTokenId"),
    (Key(CHAINED.id, CHAINED.secret, "not the session token of the session"),
     "InvalidClientTokenId"),
    (Key(CHAINED.id, CHAINED.secret), "InvalidClientTokenId"),
    (OVER, "ExpiredToken"),
], ids=["secret", "unknown", "token of a user", "wrong token", "no token", "over"])
def test_who_asks_is_checked(iam, key, code):
    assert f"dsql-iam: {code}: " in refusal(iam, key)


@pytest.mark.parametrize(("key", "role", "reason"), [
    (ALICE, "refusing", "no role trust policy allows the sts:AssumeRole action"),
    (BOB, "delegating", "no identity-based policy allows the sts:AssumeRole action"),
    (ALICE, "denying", "with an explicit deny in the role trust policy"),
    (ALICE, "missing", "is in no document"),
    (ALICE, role_arn("foreign", OTHER_ACCOUNT), "no role trust policy allows"),
    (STRANGER, "delegating", "no role trust policy allows the sts:AssumeRole action"),
    (ALICE, "secretive", "no role trust policy allows the sts:AssumeRole action"),
    (ALICE, "named", "no role trust policy allows the sts:AssumeRole action"),
    (ALICE, "tagged", "no role trust policy allows the sts:AssumeRole action"),
])
def test_what_policies_refuse(iam, key, role, reason):
    said = refusal(iam, key, role=role)
    assert "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::" in said
    assert said.startswith("dsql-iam: AccessDenied: User: ") and reason in said


@pytest.mark.parametrize(("arguments", "said"), [
    (["--duration-seconds", "899"], "Value '899' at 'durationSeconds'"),
    (["--duration-seconds", "43201"], "Value '43201' at 'durationSeconds'"),
    (["--duration-seconds", "3601"], "exceeds the MaxSessionDuration set for this role."),
    (["--policy", "{}"], "dsql-iam: MalformedPolicyDocument: "),
    (["--policy", "{" + " " * 2048 + "}"], "at 'policy' failed"),
    (["--policy-arns", "arn:aws:iam::aws:policy/Nowhere"], "policy/Nowhere is in no document"),
    (["--tags", "Key=a,Value=1", "Key=A,Value=2"], "Duplicate tag keys found: A."),
    (["--tags", "Key=aws:a,Value=1"], "Member must not start with aws:"),
    (["--transitive-tag-keys", "a"], "must be included in the requested tags: a"),
    (["--external-id", "?"], "at 'externalId'"),
])
def test_what_cannot_be_asked_for(iam, arguments, said):
    assert said in refusal(iam, ALICE, *arguments)


def test_names_of_sessions(iam):
    for name in ["a", "a b", "a/b", "a" * 65, "é" * 2]:
        assert "at 'roleSessionName' failed" in refusal(iam, ALICE, name=name)


def test_tags_and_a_source_identity_need_actions_of_their_own(iam):
    said = refusal(iam, ALICE, "--tags", "Key=a,Value=1", role="untagged")
    assert "to perform: sts:TagSession on resource" in said
    said = refusal(iam, ALICE, "--source-identity", "alice", role="untagged")
    assert "to perform: sts:SetSourceIdentity on resource" in said


def test_a_directory_of_somebody_else(iam):
    if os.geteuid() != 0:
        pytest.skip("only root can run as somebody else")
    said = run(iam, ALICE, user="nobody", extra_groups=[])
    assert said.returncode == 1  # 0700, so it cannot even be read
    assert "could not read the IAM directory" in said.stderr


def test_a_directory_of_roots_that_others_led_to(iam):
    """Anybody able to lead the path elsewhere would have root write into any folder of root's."""
    if os.geteuid() != 0:
        pytest.skip("only root has rights to lend")
    between = iam.dir / "between"
    between.mkdir()
    roots = between / "iam"
    shutil.copytree(iam.iam, roots, ignore=shutil.ignore_patterns("sessions"))
    for path in (roots, *roots.iterdir()):
        os.chown(path, 0, 0)
    names = sorted(path.name for path in roots.iterdir())
    try:
        assume(iam, ALICE, "--iam-directory", roots)
        begun = [path for path in roots.iterdir() if path.name not in names]
        assert [(path.stat().st_uid, path.stat().st_mode & 0o777) for path in begun] == [(0, 0o700)]
        shutil.rmtree(begun[0])
        os.chown(between, 65533, 65533)
        (between / "link").symlink_to(roots)
        for path in (roots, between / "link"):
            said = refusal(iam, ALICE, "--iam-directory", path)
            assert said == (
                f"dsql-iam: {roots} belongs to root, and {between} can be written by others, who could have "
                "root work on other files: give it to the server's user, or have it where nobody but root can "
                "write\n")
            assert sorted(path.name for path in roots.iterdir()) == names
    finally:
        shutil.rmtree(between)


def test_a_session_of_roots_is_the_directorys_owners(iam):
    """A user other than root, if root runs this."""
    before = stored(iam)
    assume(iam, ALICE)
    [path] = stored(iam) - before
    owner = iam.iam.stat()
    for found, mode in [(path, 0o600), (path.parent, 0o700), (path.parent.parent, 0o700),
                        (path.parent / ".count", 0o600)]:
        found = found.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (
            owner.st_uid, owner.st_gid, mode)
    assert path.stat().st_nlink == 1 and not list(iam.iam.glob("**/.*.new"))


def test_what_has_long_been_over_is_removed(iam):
    """And nothing else, whatever hour the name of its folder is."""
    old = session_path(iam, "ASIA" + "KEEP" + "A" * 12)
    assume(iam, ALICE)
    old.parent.mkdir(mode=0o700)
    os.chown(old.parent, iam.iam.stat().st_uid, -1)
    mine = old.with_name("mine.json")
    for path in (old, mine):
        iam.write(path, "{}")
    before = stored(iam)
    assume(iam, ALICE)
    assert before - stored(iam) == {old}
    mine.unlink()
    assume(iam, ALICE)
    assert not old.parent.exists()


def test_a_session_logs_in(iam, role):
    role("assumer", on=iam)
    iam.execute(f"AWS IAM GRANT assumer TO '{role_arn('delegating')}'")
    response, key = assume(iam, ALICE)
    assert response["AssumedRoleUser"] == {
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/delegating/s1", "AssumedRoleId": "AROA:s1"}
    assert key.id.startswith("ASIA") and "PackedPolicySize" not in response
    end = datetime.datetime.fromisoformat(response["Credentials"]["Expiration"])
    left = end - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=59) < left <= datetime.timedelta(hours=1)
    path = session_path(iam, key.id)
    found, folder = path.stat(), iam.iam.stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o600, folder.st_uid)
    with iam.connect("assumer", token(key)) as connection:
        assert connection.execute("SELECT sys.iam_session_user()").fetchone() == (
            response["AssumedRoleUser"]["Arn"],)
    # When it is over it does not; it is kept for an hour or two, so that it can be told.
    end_session(iam, key, datetime.timedelta(minutes=61))
    assert "is expired" in iam.refusal("assumer", token(key)).hint
    assert "ExpiredToken: " in refusal(iam, key)
    assume(iam, ALICE)
    assert path.exists()


def test_a_trust_policy_that_names_the_caller_is_enough(iam):
    assume(iam, BOB, role="naming")


def test_conditions_on_the_request(iam):
    assume(iam, ALICE, "--external-id", "open:sesame", role="secretive")
    assume(iam, ALICE, role="named", name="alice-1")
    tags = ["--tags", "Key=team,Value=blue"]
    assume(iam, ALICE, *tags, "--transitive-tag-keys", "team", role="tagged")
    for arguments in (tags, ["--tags", "Key=team,Value=red", "--transitive-tag-keys", "team"],
                      [*tags, "Key=more,Value=1", "--transitive-tag-keys", "team"]):
        assert "AccessDenied: " in refusal(iam, ALICE, *arguments, role="tagged")


def test_conditions_on_the_connection(iam):
    """Nothing goes over a network: that is as good as TLS, and there is no address."""
    everybody = f"arn:aws:iam::{ACCOUNT}:root"
    export = with_roles(
        safe=trust(everybody, Condition={"Bool": {"aws:SecureTransport": "true"},
                                         "Null": {"aws:SourceIp": "true"}}),
        near=trust(everybody, Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}))
    with iam.documents(conditional=export):
        assume(iam, ALICE, role="safe")
        assert "because no role trust policy allows the sts:AssumeRole action" in refusal(
            iam, ALICE, role="near")


def test_a_session_policy_narrows(iam, role, tmp_path):
    role("narrow", on=iam)
    iam.execute(f"AWS IAM GRANT narrow TO '{role_arn('delegating')}'")
    narrow = tmp_path / "narrow.json"
    for action, is_admitted in [("dsql:DbConnect", True), ("dsql:DbConnectAdmin", False)]:
        narrow.write_text(json.dumps(policy(action)["PolicyDocument"]))
        response, key = assume(iam, ALICE, "--policy", str(narrow))
        assert response["PackedPolicySize"] >= 1
        assert iam.admits("narrow", token(key)) == is_admitted
    assert "no session policy allows" in iam.refusal("narrow", token(key)).hint


def test_how_long_a_session_may_last(iam):
    assume(iam, ALICE, "--duration-seconds", "7200", role="long")
    assert "exceeds the MaxSessionDuration" in refusal(
        iam, ALICE, "--duration-seconds", "7201", role="long")
    # A session that begins another can do so for an hour.
    assert "1 hour session limit for roles assumed by role chaining." in refusal(
        iam, CHAINED, "--duration-seconds", "3601", role="long")
    assume(iam, CHAINED, "--duration-seconds", "3600", role="long")


def test_what_is_passed_on(iam):
    _, key = assume(iam, ALICE, "--tags", "Key=team,Value=blue", "Key=other,Value=1",
                    "--transitive-tag-keys", "team", "--source-identity", "alice")
    response, key = assume(iam, key, name="s2")
    assert response["SourceIdentity"] == "alice"
    document = json.loads(session_path(iam, key.id).read_text())["Request"]
    assert document["Tags"] == [{"Key": "team", "Value": "blue"}]
    assert document["TransitiveTagKeys"] == ["team"]
    assert "cannot be given again" in refusal(iam, key, "--tags", "Key=Team,Value=red")
    assert "source identity of a session cannot be changed" in refusal(
        iam, key, "--source-identity", "bob")
    # Nor does it get into a role that is not to be tagged.
    assert "to perform: sts:TagSession" in refusal(iam, key, role="untagged")


# Profiles with credential_process


@pytest.fixture
def variables(own, monkeypatch):
    for name, value in own.variables.items():
        monkeypatch.setenv(name, value)


def test_the_profile_of_up(own, role, variables):
    role("reader", on=own)
    own.execute(f"AWS IAM GRANT reader TO '{EXAMPLE_ARN}'")
    session = boto3.Session(profile_name="assumed")
    credentials = session.get_credentials()
    dsql = session.client("dsql")
    key = frozen_key(credentials)
    with own.connect("reader", dsql.generate_db_connect_auth_token("localhost")) as connection:
        assert connection.execute("SELECT sys.iam_session_user()").fetchone() == (
            f"arn:aws:sts::{ACCOUNT}:assumed-role/example/assumed",)
    end_session(own, key)
    assert "is expired" in own.refusal("reader", dsql.generate_db_connect_auth_token("localhost")).hint
    with five_minutes_before_the_end(credentials):
        again = dsql.generate_db_connect_auth_token("localhost")
    assert frozen_key(credentials).id != key.id
    assert own.admits("reader", again)


def test_the_command_signs_with_that_profile(own, role, variables):
    role("reader", on=own)
    own.execute(f"AWS IAM GRANT reader TO '{EXAMPLE_ARN}'")
    done = subprocess.run([own.command, "token", "--hostname", "localhost"], text=True,
                          env=os.environ | {"AWS_PROFILE": "assumed"}, capture_output=True,
                          timeout=60, check=True)
    assert own.admits("reader", done.stdout.strip())


def test_a_profile_that_is_refused_says_why(own, variables, tmp_path, monkeypatch):
    config = tmp_path / "config"
    line = shlex.join([str(own.command), "assume-role", "--profile", "denied", "--role-arn",
                       EXAMPLE_ARN, "--role-session-name", "s1", "--format", "credential-process"])
    config.write_text(f"[profile refused]\nregion = us-east-1\ncredential_process = {line}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with pytest.raises(CredentialRetrievalError, match="AccessDenied: "):
        boto3.Session(profile_name="refused").get_credentials().get_frozen_credentials()
