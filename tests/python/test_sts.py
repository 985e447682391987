"""`dsql-iam sts`: SDKs assume roles with it as they do with AWS."""

import contextlib
import datetime
import json
import os
import socket
import subprocess
import urllib.parse

import boto3
import pytest
from botocore.exceptions import ClientError, CredentialRetrievalError

from assumable import (ALICE, BOB, CHAINED, OTHER_ACCOUNT, OVER, STRANGER, end_session,
                       five_minutes_before_the_end, frozen_key, identities, role_arn, session_key,
                       stored, token, trust, with_roles)
from sts_service import CONTAINER_TOKEN, IDENTITY, Sts
from support import ACCOUNT, EXAMPLE_ARN, REGION, Key, until



@pytest.fixture(scope="module")
def iam(own):
    with identities(own) as server:
        yield server


@pytest.fixture(scope="module")
def sts(iam):
    sts = Sts(iam)
    yield sts
    sts.end()


def refusal(client, **parameters):
    """Code and message of an AssumeRole that has to fail."""
    arguments = {"RoleArn": role_arn("delegating"), "RoleSessionName": "s1"} | parameters
    with pytest.raises(ClientError) as raised:
        client.assume_role(**arguments)
    error = raised.value.response
    return error["Error"]["Code"], error["Error"]["Message"], error["ResponseMetadata"][
        "HTTPStatusCode"]


@pytest.mark.parametrize(("key", "code"), [
    (Key(ALICE.id, "not the secret of alice, but one as long"), "SignatureDoesNotMatch"),
    (Key("AKIA" + "N" * 16, ALICE.secret), "InvalidClientTokenId"),
    (Key(ALICE.id, ALICE.secret, "a-session-token-where-there-is-none"), "InvalidClientTokenId"),
    (Key(CHAINED.id, CHAINED.secret, "not-the-session-token"), "InvalidClientTokenId"),
    (Key(CHAINED.id, CHAINED.secret), "InvalidClientTokenId"),
    (OVER, "ExpiredToken"),
], ids=["secret", "unknown", "token of a user", "wrong token", "no token", "over"])
def test_who_asks_is_checked(iam, sts, key, code):
    before = stored(iam)
    assert refusal(sts.client(key))[::2] == (code, 403)
    with pytest.raises(ClientError, match=rf"\({code}\)"):
        sts.client(key).get_caller_identity()
    assert stored(iam) == before


@pytest.mark.parametrize(("key", "role"), [
    (ALICE, role_arn("refusing")), (BOB, role_arn("delegating")), (ALICE, role_arn("denying")),
    (ALICE, role_arn("missing")), (ALICE, role_arn("foreign", OTHER_ACCOUNT)),
    (STRANGER, role_arn("delegating")), (ALICE, role_arn("secretive")),
])
def test_what_policies_refuse(iam, sts, key, role):
    before = stored(iam)
    code, message, status = refusal(sts.client(key), RoleArn=role)
    number = OTHER_ACCOUNT if key is STRANGER else ACCOUNT
    name = {ALICE: "alice", BOB: "bob", STRANGER: "stranger"}[key]
    # The reason is told to whoever runs the service, not to whoever asks.
    assert (code, status, message) == (
        "AccessDenied", 403, f"User: arn:aws:iam::{number}:user/{name} is not authorized to "
        f"perform: sts:AssumeRole on resource: {role}")
    assert stored(iam) == before
    until(lambda: any(f"on resource: {role} " in line and line.startswith("dsql-iam: refused")
                      for line in sts.errors), "the reason is logged")


@pytest.mark.parametrize(("parameters", "code", "message"), [
    ({"DurationSeconds": 3601}, "ValidationError", "MaxSessionDuration set for this role"),
    ({"DurationSeconds": 43201}, "ValidationError", "at 'durationSeconds' failed"),
    ({"Policy": "{}"}, "MalformedPolicyDocument", "missing field `Statement`"),
    ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/Nowhere"}]}, "ValidationError", "Nowhere"),
    ({"Tags": [{"Key": str(n), "Value": "v" * 200} for n in range(50)]}, "PackedPolicyTooLarge",
     "of allotted space"),
    ({"TransitiveTagKeys": ["a"]}, "ValidationError", "must be included in the requested tags"),
    ({"RoleSessionName": "a/b"}, "ValidationError", "at 'roleSessionName' failed"),
    ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:user/alice"}, "ValidationError", "is invalid"),
])
def test_what_cannot_be_asked_for(sts, parameters, code, message):
    refused = refusal(sts.client(), **parameters)
    assert refused[0] == code and message in refused[1], refused


def test_a_request_that_was_changed(sts):
    headers = sts.signed()
    assert sts.send(headers=headers)[0] == 200
    for body, changed in [
        (IDENTITY + "&", {}),
        ("", {}),
        (IDENTITY, {"Host": "127.0.0.1:1"}),
        (IDENTITY, {"X-Amz-Date": "20260101T000000Z"}),
        (IDENTITY, {"Authorization": headers["Authorization"][:-1]}),
        (IDENTITY, {"Authorization": headers["Authorization"].replace("Signature=", "Signature=0")}),
    ]:
        status, text = sts.send(body, headers | changed)
        assert (status, "<Code>SignatureDoesNotMatch</Code>" in text) == (403, True), text
    for changed, code in [({"X-Amz-Security-Token": "a"}, "IncompleteSignature"),
                          ({"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, "IncompleteSignature"),
                          ({"Authorization": "Bearer a"}, "IncompleteSignature")]:
        status, text = sts.send(headers=headers | changed)
        assert (status, f"<Code>{code}</Code>" in text) == (400, True), text
    del headers["Authorization"]
    status, text = sts.send(headers=headers)
    assert (status, "<Code>MissingAuthenticationToken</Code>" in text) == (403, True), text


def test_a_request_for_another_service_or_time(sts, monkeypatch):
    status, text = sts.send(headers=sts.signed(service="dsql"))
    assert status == 403 and "Credential should be scoped to correct service: " in text
    now = datetime.datetime.now(datetime.UTC)
    for minutes, words in [(-6, "Signature expired: "), (6, "Signature not yet current: ")]:
        at = now.replace(tzinfo=None) + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda at=at: at)
        status, text = sts.send(headers=sts.signed())
        assert status == 403 and words in text, text


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("GET", "/", None, 404),
    ("POST", "/elsewhere", IDENTITY, 404),
    ("POST", "/?" + IDENTITY, "", 404),
    ("GET", "/credentials", None, 404),
    ("POST", "/", "a" * 600_000, 413),
])
def test_other_requests(sts, method, path, body, status):
    assert sts.send(body, sts.signed(), method, path)[0] == status


def test_connections_that_say_nothing_end(sts):
    address = urllib.parse.urlsplit(sts.url)
    head = b"POST / HTTP/1.1\r\n"
    with contextlib.ExitStack() as stack:
        for sent in [b"", head, head + b"Content-Length: 9\r\n\r\n"] * 25:
            silent = socket.create_connection((address.hostname, address.port), timeout=20)
            stack.enter_context(silent).sendall(sent)
        # More of them than there may be at a time: the others wait until the first are ended.
        assert sts.send(headers=sts.signed())[0] == 200


def test_actions_that_there_are_not(sts):
    for body in ["Action=GetFederationToken&Version=2011-06-15", "Action=AssumeRole&Version=1", ""]:
        status, text = sts.send(body, sts.signed(body))
        assert status == 400 and "<Code>InvalidAction</Code>" in text


def test_an_assertion_of_saml_is_no_action(sts):
    """SDKs send it without a signature: it is no fault of the credentials that it is not answered."""
    with pytest.raises(ClientError) as raised:
        sts.client().assume_role_with_saml(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/App", SAMLAssertion="PHg+PC94Pg==",
            PrincipalArn=f"arn:aws:iam::{ACCOUNT}:saml-provider/idp")
    message = "Could not find operation AssumeRoleWithSAML for version 2011-06-15"
    error = raised.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("InvalidAction", message)
    line = f"InvalidAction: {message} (SAML assertions of an identity provider cannot be verified here)"
    until(lambda: line in "".join(sts.errors), "the reason is logged")


def test_who_am_i(sts):
    said = sts.client().get_caller_identity()
    assert (said["Arn"], said["UserId"], said["Account"]) == (
        f"arn:aws:iam::{ACCOUNT}:user/alice", "AIDA", ACCOUNT)
    said = sts.client(CHAINED).get_caller_identity()
    assert (said["Arn"], said["UserId"]) == (
        f"arn:aws:sts::{ACCOUNT}:assumed-role/delegating/s", "AROA:s")


def test_a_broken_directory_answers_nobody(iam, sts):
    with iam.documents(broken={"UserDetailList": [], "IsTruncated": True}):
        client = boto3.client("sts", endpoint_url=sts.url, region_name=REGION,
                              aws_access_key_id=ALICE.id, aws_secret_access_key=ALICE.secret,
                              config=boto3.session.Config(retries={"max_attempts": 1}))
        with pytest.raises(ClientError, match="InternalFailure"):
            client.get_caller_identity()
    until(lambda: any("IsTruncated is true" in line for line in sts.errors), "it is logged")
    sts.client().get_caller_identity()


def test_conditions_on_the_connection(iam, sts):
    """The service has no TLS, the client's address, and whatever region the request is signed for."""
    everybody = f"arn:aws:iam::{ACCOUNT}:root"
    conditions = {"far": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}},
                  "tls": {"Bool": {"aws:SecureTransport": "true"}},
                  "plain": {"Bool": {"aws:SecureTransport": "false"},
                            "IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
                  "elsewhere": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    export = with_roles(**{name: trust(everybody, Condition=condition)
                           for name, condition in conditions.items()})

    def assumes(role, region=REGION):
        client = boto3.client("sts", endpoint_url=sts.url, region_name=region,
                              aws_access_key_id=ALICE.id, aws_secret_access_key=ALICE.secret)
        try:
            client.assume_role(RoleArn=role_arn(role), RoleSessionName="s1")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
            return False
        return True

    with iam.documents(conditional=export):
        assert not assumes("far") and assumes("far", "eu-west-1")
        assert assumes("plain") and not assumes("tls") and not assumes("elsewhere")


def test_a_quota_for_each_principal(iam):
    limited = Sts(iam, "--session-quota", "1")
    client = lambda key: boto3.client(
        "sts", endpoint_url=limited.url, region_name=REGION, aws_access_key_id=key.id,
        aws_secret_access_key=key.secret, aws_session_token=key.session_token,
        config=boto3.session.Config(retries={"max_attempts": 0}))
    assume = lambda key, role: client(key).assume_role(RoleArn=role_arn(role), RoleSessionName="s1")
    try:
        assume(BOB, "naming")
        before = stored(iam)
        with pytest.raises(ClientError) as refused:
            assume(BOB, "naming")
        error = refused.value.response
        assert (error["Error"]["Code"], error["Error"]["Message"]) == ("Throttling", "Rate exceeded")
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        line = f"arn:aws:iam::{ACCOUNT}:user/bob has begun 1 sessions that are not over, and 1 is the most"
        until(lambda: line in "".join(limited.errors), "it is logged")
        assert stored(iam) == before
        # Other requests cost nothing, and other callers have a quota of their own.
        client(BOB).get_caller_identity()
        assume(CHAINED, "delegating")
    finally:
        limited.end()


def test_tags_and_policies_of_a_session(iam, sts):
    said = sts.client().assume_role(
        RoleArn=role_arn("tagged"), RoleSessionName="s1", DurationSeconds=900,
        Tags=[{"Key": "team", "Value": "blue"}], TransitiveTagKeys=["team"])
    assert said["PackedPolicySize"] == 1
    assert said["AssumedRoleUser"]["Arn"].endswith(":assumed-role/tagged/s1")
    left = said["Credentials"]["Expiration"] - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=14) < left <= datetime.timedelta(minutes=15)
    said = sts.client(session_key(said["Credentials"])).get_caller_identity()
    assert said["Arn"].endswith(":assumed-role/tagged/s1")
    narrow = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    said = sts.client().assume_role(
        RoleArn=role_arn("delegating"), RoleSessionName="s1", Policy=narrow)
    hint = iam.refusal("anybody", token(session_key(said["Credentials"]))).hint
    assert "no session policy allows the dsql:DbConnect action" in hint


# Profiles, as people have them for AWS


@pytest.fixture
def variables(own, sts, monkeypatch, tmp_path):
    for name, value in (own.variables | sts.variables).items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "config"
    config.write_text((own.dir / "aws" / "config").read_text() + f"""
[profile by-role]
region = {REGION}
role_arn = {EXAMPLE_ARN}
source_profile = admin

[profile refused]
region = {REGION}
role_arn = {EXAMPLE_ARN}
source_profile = denied
""")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return monkeypatch


@pytest.fixture
def reader(own, role):
    role("reader", on=own)
    own.execute(f"AWS IAM GRANT reader TO '{EXAMPLE_ARN}'")
    return "reader"


def logs_in_again(server, session, role):
    """Logs in with the session's credentials, and again after they are over."""
    credentials = session.get_credentials()
    dsql = session.client("dsql", region_name=REGION)
    key = frozen_key(credentials)
    with server.connect(role, dsql.generate_db_connect_auth_token("localhost")) as connection:
        name, = connection.execute("SELECT sys.iam_session_user()").fetchone()
    end_session(server, key)
    refused = server.refusal(role, dsql.generate_db_connect_auth_token("localhost"))
    assert "is expired" in refused.hint
    with five_minutes_before_the_end(credentials):
        again = dsql.generate_db_connect_auth_token("localhost")
    assert frozen_key(credentials).id != key.id
    server.connect(role, again).close()
    return name


def test_a_profile_with_a_role(own, reader, variables):
    name = logs_in_again(own, boto3.Session(profile_name="by-role"), reader)
    assert name.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/example/")


def test_a_profile_that_is_refused(variables):
    with pytest.raises(ClientError) as raised:
        boto3.Session(profile_name="refused").get_credentials().get_frozen_credentials()
    assert raised.value.response["Error"]["Code"] == "AccessDenied"


# Containers


@pytest.fixture(scope="module")
def container(iam):
    sts = Sts(iam, "--container-role", EXAMPLE_ARN, "--profile", "admin",
              AWS_CONTAINER_AUTHORIZATION_TOKEN=CONTAINER_TOKEN)
    yield sts
    sts.end()


def test_container_credentials_need_the_token(iam, container):
    before = stored(iam)
    for headers in ({}, {"Authorization": "wrong"}, {"Authorization": CONTAINER_TOKEN[:-1]},
                    {"Authorization": CONTAINER_TOKEN + "x"}, {"Authorization": ""}):
        status, text = container.send(None, headers, "GET", "/credentials")
        assert (status, json.loads(text)["code"]) == (401, "AccessDenied")
    status, _ = container.send("", {"Authorization": CONTAINER_TOKEN}, "POST", "/credentials")
    assert status == 405
    assert stored(iam) == before


@pytest.mark.parametrize(("arguments", "variables", "said"), [
    ([], {}, "at least 16 characters"),
    ([], {"AWS_CONTAINER_AUTHORIZATION_TOKEN": ""}, "at least 16 characters"),
    ([], {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "short"}, "at least 16 characters"),
    (["--listen", "0.0.0.0:0"], {"AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN},
     "0.0.0.0:0 is not a loopback address"),
    (["--iam-directory", "/nowhere"], {"AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN},
     'could not read the IAM directory "/nowhere"'),
])
def test_it_does_not_begin(own, arguments, variables, said):
    environment = os.environ | own.variables | variables
    done = subprocess.run([own.command, "sts", "--container-role", EXAMPLE_ARN, *arguments],
                          env=environment, text=True, capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and said in done.stderr and done.stdout == ""
    assert CONTAINER_TOKEN not in done.stderr


def test_its_port_is_taken(own):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run([own.command, "sts", "--listen", address], text=True, timeout=60,
                              env=os.environ | own.variables, stdin=subprocess.DEVNULL,
                              capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"dsql-iam: could not listen on {address} (Address already in use (os error 98)): "
                           "give another --listen, with port 0 for any\n")


def test_a_container_logs_in(own, container, reader, monkeypatch):
    for name, value in container.variables.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN)
    name = logs_in_again(own, boto3.Session(), reader)
    assert name == f"arn:aws:sts::{ACCOUNT}:assumed-role/example/container"
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not-the-token-of-it")
    with pytest.raises(CredentialRetrievalError):
        boto3.Session().get_credentials()


def test_it_says_who_can_reach_it(own):
    sts = Sts(own)
    until(lambda: any("which only this machine can reach" in line for line in sts.errors), "it")
    sts.end()
    sts = Sts(own, "--listen", "0.0.0.0:0")
    until(lambda: any("warning: listening on 0.0.0.0:" in line and "without TLS" in line
                      for line in sts.errors), "the warning")
    sts.end()
