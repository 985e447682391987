"""`dsql-iam sts` gives sessions for tokens of identity providers, as AWS does to Vercel, EKS and GitHub Actions."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from assumable import OTHER_ACCOUNT, role_arn, session_key, stored, with_roles
from assumable import token as db_token
from sts_service import Sts
from support import ACCOUNT, REGION, until

URL = "token.actions.githubusercontent.com"
ISSUER = f"https://{URL}"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{URL}"
SUBJECT = "repo:octo-org/octo-repo:ref:refs/heads/main"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOT_ALLOWED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
NO_KEY = "Couldn't retrieve verification key from your identity provider"
NOT_VALIDATED = "The web identity token that was passed could not be validated."
NO_JWT = "The ID Token provided is not a valid JWT."


def encoded(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, text=None):
    return subprocess.run(["openssl", *arguments], input=text, check=True, capture_output=True).stdout


class Signer:
    """A key pair, and tokens that are signed with it."""

    def __init__(self, folder, id, curve=None):
        self.id, self.curve = id, curve
        self.path = folder / f"{id}.pem"
        kind, option = ("EC", f"ec_paramgen_curve:{curve}") if curve else ("RSA", "rsa_keygen_bits:2048")
        openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", self.path)
        if curve:
            point = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
            size = {"P-256": 32, "P-384": 48}[curve]
            self.public = {"kty": "EC", "crv": curve, "x": encoded(point[-2 * size:-size]), "y": encoded(point[-size:])}
        else:
            modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().split("=")[1]
            self.public = {"kty": "RSA", "alg": "RS256", "n": encoded(bytes.fromhex(modulus)), "e": "AQAB"}
        self.public |= {"use": "sig", "kid": id}

    def sign(self, text, bits=256):
        signature = openssl("dgst", f"-sha{bits}", "-sign", self.path, text=text)
        if not self.curve:
            return signature
        size, numbers, rest = bits // 8, b"", signature[2:]
        for _ in range(2):
            length = rest[1]
            numbers += rest[2:2 + length].lstrip(b"\0").rjust(size, b"\0")
            rest = rest[2 + length:]
        return numbers

    def token(self, header=None, sign=None, **claims):
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": self.id} | (header or {})
        claims = {"iss": ISSUER, "sub": SUBJECT, "aud": "sts.amazonaws.com", "iat": now, "nbf": now - 60,
                  "exp": now + 300, "repository": "octo-org/octo-repo"} | claims
        signed = ".".join(encoded({name: value for name, value in part.items() if value is not None})
                          for part in (header, claims))
        return f"{signed}.{encoded((sign or self.sign)(signed.encode()))}"


def trust(principal, subject="repo:octo-org/*", **more):
    condition = {"StringEquals": {f"{URL}:aud": "sts.amazonaws.com"}, "StringLike": {f"{URL}:sub": subject}}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRoleWithWebIdentity",
                 "Condition": condition} | more
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture(scope="module")
def signers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signers")
    return {"rsa": Signer(folder, "rsa"), "other": Signer(folder, "other"), "unknown": Signer(folder, "unknown"),
            "ec": Signer(folder, "ec", "P-256"), "large": Signer(folder, "large", "P-384")}


@pytest.fixture(scope="module")
def iam(own, signers):
    denied = trust({"Federated": PROVIDER})
    denied["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "sts:*"})
    export = with_roles(
        web=trust({"Federated": PROVIDER}), limited=trust({"Federated": PROVIDER}, "repo:octo-org/other:*"),
        everybody=trust("*"), aws=trust({"AWS": ["*", ACCOUNT]}), denied=denied,
        elsewhere=trust({"Federated": PROVIDER.replace(ACCOUNT, OTHER_ACCOUNT)}),
        unfederated=trust({"Federated": PROVIDER}, Action="sts:AssumeRole"),
        tagged=trust({"Federated": PROVIDER}, Action=[
            "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"], Condition={
            "StringEquals": {"aws:RequestTag/team": ["blue", "red"], "sts:SourceIdentity": "octocat"}}),
        custom=trust({"Federated": PROVIDER}, Condition={
            "StringNotEquals": {f"{URL}:repository": "octo-org/secret"}}))
    foreign = with_roles(OTHER_ACCOUNT, foreign=trust({"Federated": PROVIDER}))
    provider = {"Url": URL, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["6938fd4d" * 5],
                "CreateDate": "2026-01-01T00:00:00+00:00", "Tags": [], "AccountId": ACCOUNT}
    keys = {"issuer": ISSUER, "keys": [signers[name].public for name in ("rsa", "other", "ec", "large")]}
    with own.documents(web=export, web_elsewhere=foreign, web_keys=keys, web_provider=provider):
        yield own


@pytest.fixture(scope="module")
def sts(iam):
    sts = Sts(iam)
    yield sts
    sts.end()


def ask(sts, token, role="web", **more):
    client = boto3.client("sts", endpoint_url=sts.url, region_name=REGION, config=Config(signature_version=UNSIGNED))
    arn = role if role.startswith("arn:") else role_arn(role)
    arguments = {"RoleArn": arn, "RoleSessionName": "ci", "WebIdentityToken": token} | more
    return client.assume_role_with_web_identity(**arguments)


def refusal(sts, token, role="web", **more):
    """Code, message and status, and the reason that is logged."""
    before = len(sts.errors)
    with pytest.raises(ClientError) as raised:
        ask(sts, token, role, **more)
    until(lambda: len(sts.errors) > before, "it is logged")
    line = "".join(sts.errors[before:])
    assert not any(part in line for part in token.split(".") if part)
    error = raised.value.response
    status = error["ResponseMetadata"]["HTTPStatusCode"]
    return error["Error"]["Code"], status, error["Error"]["Message"], line


def secret_of(public):
    """The secret in the eyes of a verifier that lets a header choose HS256."""
    return lambda text: hmac.new(public, text, hashlib.sha256).digest()


TOKENS = {
    "another's signature": (lambda s: s["unknown"].token({"kid": "rsa"}), NOT_VALIDATED, "not one of the key"),
    "another key of the provider": (lambda s: s["other"].token({"kid": "rsa"}), NOT_VALIDATED, "not one of the key"),
    "no signature": (lambda s: s["rsa"].token(sign=lambda _: b""), NOT_VALIDATED, "not one of the key"),
    "alg none": (lambda s: s["rsa"].token({"alg": "none"}, lambda _: b""), NO_JWT, "its alg is none of RS256"),
    "HS256 with the public key": (
        lambda s: s["rsa"].token({"alg": "HS256"}, secret_of(openssl("pkey", "-in", s["rsa"].path, "-pubout"))),
        NO_JWT, "its alg is none of RS256"),
    "an algorithm that is not the key's": (
        lambda s: s["rsa"].token({"alg": "RS512"}, lambda text: s["rsa"].sign(text, 512)), NOT_VALIDATED,
        "the alg of the token is not that of the key"),
    "another type of key": (lambda s: s["rsa"].token({"alg": "ES256"}), NOT_VALIDATED, "alg of the token"),
    "an unknown kid": (lambda s: s["unknown"].token(), NO_KEY, "has no key with the kid unknown"),
    "no kid": (lambda s: s["rsa"].token({"kid": None}), NO_KEY, "the token has no kid"),
    "crit": (lambda s: s["rsa"].token({"crit": ["b64"]}), NO_JWT, "its header has crit"),
    "another issuer": (
        lambda s: s["rsa"].token(iss="https://example.com"),
        "No OpenIDConnect provider found in your account for https://example.com", "no document has it"),
    "an issuer with a slash": (
        lambda s: s["rsa"].token(iss=ISSUER + "/"), "No OpenIDConnect provider found in your account", "no document"),
    "an issuer without TLS": (
        lambda s: s["rsa"].token(iss=f"http://{URL}"), "No OpenIDConnect provider found in your account",
        "no document"),
    "another audience": (lambda s: s["rsa"].token(aud="vercel"), "Incorrect token audience", "vercel is not in"),
    "another authorized party": (
        lambda s: s["rsa"].token(azp="someone"), "Incorrect token audience", "someone is not in"),
    "several audiences": (
        lambda s: s["rsa"].token(aud=["sts.amazonaws.com", "x"]), "Incorrect token audience", "several audiences"),
    "issued later": (lambda s: s["rsa"].token(iat=int(time.time()) + 900), NOT_VALIDATED, "in the future"),
    "not yet valid": (lambda s: s["rsa"].token(nbf=int(time.time()) + 900), NOT_VALIDATED, "in the future"),
    "without end": (lambda s: s["rsa"].token(exp=None), NO_JWT, "it has no exp"),
    "another claim for AWS": (lambda s: s["rsa"].token(**{"https://aws.amazon.com/roles": "x"}), NO_JWT,
                              "neither tags nor source_identity"),
    "an access token": (lambda s: "an-opaque-access-token", NO_JWT, "it does not have three parts"),
    "too long": (lambda s: s["rsa"].token(sub="s" * 20_000), NO_JWT, "more than 20000 characters"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_is_not_accepted(iam, sts, signers, name):
    make, message, reason = TOKENS[name]
    before = stored(iam)
    code, status, said, line = refusal(sts, make(signers))
    assert (code, status) == ("InvalidIdentityToken", 400) and said.startswith(message), said
    assert line.startswith("dsql-iam: refused, from 127.0.0.1: InvalidIdentityToken: ") and reason in line, line
    assert stored(iam) == before


def test_a_token_that_is_over(iam, sts, signers):
    end = int(time.time()) - 301
    code, status, said, _ = refusal(sts, signers["rsa"].token(exp=end))
    assert (code, status) == ("ExpiredTokenException", 400)
    assert said.startswith("Token expired: current date/time ") and said.endswith(f"expiration date/time {end}")
    # The clock of the provider may differ by five minutes.
    ask(sts, signers["rsa"].token(exp=end + 60))


@pytest.mark.parametrize(("role", "reason"), [
    ("limited", "because no role trust policy allows"), ("everybody", "because no role trust policy allows"),
    ("aws", "because no role trust policy allows"), ("elsewhere", "because no role trust policy allows"),
    ("unfederated", "because no role trust policy allows"), ("missing", "the role is in no document"),
    ("denied", "with an explicit deny in the role trust policy"),
    ("custom", f"its trust policy asks for {URL}:repository, which is not supported"),
])
def test_a_role_that_does_not_trust_it(iam, sts, signers, role, reason):
    before = stored(iam)
    code, status, said, line = refusal(sts, signers["rsa"].token(), role)
    assert (code, status, said) == ("AccessDenied", 403, NOT_ALLOWED)
    assert f"{SUBJECT} of {PROVIDER} for {role_arn(role)}: {reason}" in line
    assert stored(iam) == before


def test_another_subject_and_another_account(sts, signers):
    assert refusal(sts, signers["rsa"].token(sub="repo:evil/octo-org:x"))[2] == NOT_ALLOWED
    code, _, said, _ = refusal(sts, signers["rsa"].token(), role_arn("foreign", OTHER_ACCOUNT))
    assert code == "InvalidIdentityToken" and said.startswith("No OpenIDConnect provider found in your account")


@pytest.mark.parametrize(("parameters", "code", "message"), [
    ({"ProviderId": "www.amazon.com"}, "ValidationError", "ProviderId is for OAuth 2.0 access tokens"),
    ({"DurationSeconds": 3601}, "ValidationError", "MaxSessionDuration set for this role"),
    ({"RoleSessionName": "a/b"}, "ValidationError", "at 'roleSessionName' failed"),
    ({"Policy": "{}"}, "MalformedPolicyDocument", "missing field `Statement`"),
    ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/Nowhere"}]}, "ValidationError", "Nowhere"),
])
def test_what_cannot_be_asked_for(sts, signers, parameters, code, message):
    refused = refusal(sts, signers["rsa"].token(), **parameters)
    assert refused[0] == code and message in refused[2], refused


def test_only_this_action_is_unsigned(sts):
    for action, code in [("AssumeRole", "MissingAuthenticationToken"),
                         ("GetCallerIdentity", "MissingAuthenticationToken"),
                         ("AssumeRoleWithWebIdentity&Action=GetCallerIdentity", "ValidationError")]:
        _, text = sts.send(f"Action={action}&Version=2011-06-15&RoleArn={role_arn('web')}", FORM)
        assert f"<Code>{code}</Code>" in text, text


def test_what_is_answered(iam, sts, signers):
    said = ask(sts, signers["rsa"].token(), DurationSeconds=900)
    assert said["SubjectFromWebIdentityToken"] == SUBJECT
    assert (said["Audience"], said["Provider"]) == ("sts.amazonaws.com", PROVIDER)
    assert said["AssumedRoleUser"] == {"AssumedRoleId": "AROA:ci",
                                       "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/web/ci"}
    for name, algorithm, bits in [("ec", "ES256", 256), ("large", "ES384", 384)]:
        signer = signers[name]
        token = signer.token({"alg": algorithm}, lambda text: signer.sign(text, bits))
        assert ask(sts, token)["Audience"] == "sts.amazonaws.com"
        assert refusal(sts, signer.token({"alg": algorithm}, lambda text: bytes(bits // 4)))[2] == NOT_VALIDATED
    assert ask(sts, signers["rsa"].token(aud="x", azp="sts.amazonaws.com"))["Audience"] == "sts.amazonaws.com"


@pytest.fixture
def mapped(iam, role):
    role("web", on=iam)
    iam.execute(f"AWS IAM GRANT web TO '{role_arn('web')}'")


def narrowed(sts, signers, **statement):
    """A token to log in with, of a session that is narrowed by this."""
    statement = {"Effect": "Allow", "Action": "dsql:DbConnect", "Resource": "*"} | statement
    said = ask(sts, signers["rsa"].token(), Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    key = said["Credentials"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"], REGION)
    return session.client("dsql").generate_db_connect_auth_token("localhost")


def test_session_policies_and_what_later_requests_know(iam, sts, signers, mapped):
    refused = iam.refusal("web", narrowed(sts, signers, Action="s3:*"))
    assert "because no session policy allows the dsql:DbConnect action" in refused.hint
    # On AWS the session would have these keys.
    absent = {"Null": {f"{URL}:sub": "true", f"{URL}:aud": "true", "aws:FederatedProvider": "true"}}
    iam.connect("web", narrowed(sts, signers, Condition=absent)).close()


def test_tags_and_a_source_identity_of_a_token(iam, sts, signers, role):
    """The trust policy has to allow each of them, and later requests know them."""
    claims = {"https://aws.amazon.com/tags": {"principal_tags": {"team": ["blue"]}, "transitive_tag_keys": ["team"]},
              "https://aws.amazon.com/source_identity": "octocat"}
    code, status, message, reason = refusal(sts, signers["rsa"].token(**claims))
    assert (code, status, message) == ("AccessDenied", 403, "Not authorized to perform sts:TagSession")
    assert "no role trust policy allows the sts:TagSession action" in reason
    assert refusal(sts, signers["rsa"].token(), "tagged")[0] == "AccessDenied"
    answer = ask(sts, signers["rsa"].token(**claims), "tagged")
    assert answer["SourceIdentity"] == "octocat" and answer["PackedPolicySize"] == 1
    role("tagged", on=iam)
    iam.execute(f"SELECT sys.iam_grant('tagged', '{role_arn('tagged')}')")
    try:
        for team, words in [("blue", None), ("red", "no session policy allows the dsql:DbConnect action")]:
            claims["https://aws.amazon.com/tags"]["principal_tags"]["team"] = [team]
            policy = {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": "dsql:DbConnect", "Resource": "*", "Condition": {"StringEquals": {
                    "aws:PrincipalTag/team": "blue", "aws:SourceIdentity": "octocat"}}}]}
            answer = ask(sts, signers["rsa"].token(**claims), "tagged", Policy=json.dumps(policy))
            login = "tagged", db_token(session_key(answer["Credentials"]))
            if words:
                assert words in iam.refusal(*login).hint
            else:
                iam.connect(*login).close()
    finally:
        iam.execute(f"SELECT sys.iam_revoke('tagged', '{role_arn('tagged')}')")


def test_a_workflow_logs_in(iam, sts, signers, mapped, tmp_path, monkeypatch):
    """boto3 as it is, with the variables that EKS and the actions of AWS set."""
    token = tmp_path / "token"
    token.write_text(signers["rsa"].token())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", role_arn("web"))
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "workflow")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    dsql = boto3.Session(region_name=REGION).client("dsql")
    with iam.connect("web", dsql.generate_db_connect_auth_token("localhost")) as connection:
        name, = connection.execute("SELECT sys.iam_session_user()").fetchone()
    assert name == f"arn:aws:sts::{ACCOUNT}:assumed-role/web/workflow"


def test_check_says_what_is_missing(iam):
    def findings():
        done = subprocess.run([iam.command, "check", "--json"], env=os.environ | iam.variables, text=True,
                              capture_output=True, timeout=60)
        found = json.loads(done.stdout)["findings"]
        return {(one["file"], one["found"]) for one in found if one["check"] in ("identity_provider", "document")}

    assert findings() == set()
    with iam.documents(lonely={"Url": "oidc.vercel.com/acme", "ClientIDList": ["https://vercel.com/acme"]}):
        assert {found.split(":")[0] for _, found in findings()} == {"begins no session"} and len(findings()) == 2
    keys = json.loads((iam.iam / "web_keys.json").read_text())
    with iam.documents(lonely=keys | {"issuer": "https://example.com"}):
        assert findings() == {("lonely.json", "have no effect: the identity provider is in no document")}
    path = iam.iam / "lonely.json"
    for broken, found in [
        ({"keys": keys["keys"]}, 'add the member "issuer"'),
        (keys, f"duplicate keys of {ISSUER}"),
        (keys | {"issuer": "https://a.example", "keys": [{"kty": "oct", "k": "c2VjcmV0"}]}, "is not a public key"),
        ({"Url": URL, "ClientIDList": []}, f"duplicate identity provider {URL}"),
        ({"Url": ISSUER, "ClientIDList": []}, "Url has a scheme"),
    ]:
        try:
            iam.write(path, json.dumps(broken))
            [(file, said)] = findings()
            assert file in ("lonely.json", "web_keys.json", "web_provider.json") and found in said, said
        finally:
            path.unlink()
