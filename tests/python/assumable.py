"""Users and roles to assume, for the tests of `dsql-iam assume-role` and `dsql-iam sts`."""

import contextlib
import datetime
import json
import shutil

import boto3
import botocore.credentials
import pytest

from support import ACCOUNT, Key, access_key, account, assumed_role, policy

OTHER_ACCOUNT = "210987654321"


def role_arn(name, number=ACCOUNT):
    return f"arn:aws:iam::{number}:role/{name}"


def trust(principal, *actions, **more):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": principal},
         "Action": list(actions or ["sts:AssumeRole"])} | more]}


def with_roles(number=ACCOUNT, users=None, **roles):
    """An export with these users, and roles that may connect: names with trust policies."""
    connect = [policy("dsql:DbConnect", "sts:*")]
    export = account(users=users, roles=dict.fromkeys(roles, connect), number=number)
    for role in export["RoleDetailList"]:
        role["AssumeRolePolicyDocument"] = roles[role["RoleName"]]
    return export


USER = f"arn:aws:iam::{ACCOUNT}:user/"
ALICE = Key("AKIA" + "A" * 16, "the secret of alice, of forty characters")
BOB = Key("AKIA" + "B" * 16, "the secret of bob, with forty characters")
STRANGER = Key("AKIA" + "S" * 16, "the secret of somebody elsewhere, of for")
OVER = Key("ASIA" + "E" * 16, "the secret of a session that is over now", "the-token-of-" * 10)
CHAINED = Key("ASIA" + "C" * 16, "the secret of a session that goes on now", "another-token-" * 9)


@contextlib.contextmanager
def identities(server):
    """Users: alice may assume roles, bob may nothing. Roles: by what they are for."""
    may = [policy("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")]
    root = f"arn:aws:iam::{ACCOUNT}:root"
    export = with_roles(
        users={"alice": may, "bob": []},
        delegating=trust(root, "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"),
        naming=trust(f"{USER}bob"),
        refusing=trust(f"{USER}nobody"),
        untagged=trust(root),
        secretive=trust(root, Condition={"StringEquals": {"sts:ExternalId": "open:sesame"}}),
        named=trust(root, Condition={"StringLike": {"sts:RoleSessionName": "${aws:username}-*"}}),
        tagged=trust(root, "sts:AssumeRole", "sts:TagSession", Condition={
            "StringEquals": {"aws:RequestTag/team": "blue"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]},
            "ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": ["team"]}}),
        long=trust(root), denying=trust(root))
    for role in export["RoleDetailList"]:
        if role["RoleName"] == "long":
            role["MaxSessionDuration"] = 7200
        if role["RoleName"] == "denying":
            role["AssumeRolePolicyDocument"]["Statement"].append(
                {"Effect": "Deny", "Principal": {"AWS": f"{USER}alice"}, "Action": "sts:*"})
    elsewhere = with_roles(OTHER_ACCOUNT, {"stranger": []}, foreign=trust(f"{OTHER_ACCOUNT}"))
    with server.documents(assumable=export, elsewhere=elsewhere, alice=access_key("alice", ALICE),
                          bob=access_key("bob", BOB), stranger=access_key("stranger", STRANGER),
                          over=assumed_role("delegating", OVER,
                                            expiration="2026-01-01T00:00:00+00:00"),
                          chained=assumed_role("delegating", CHAINED)):
        yield server
        shutil.rmtree(server.iam / "sessions", ignore_errors=True)


def stored(server):
    """The files of the sessions that `dsql-iam` began."""
    return set(server.iam.glob("sessions/*/*.json"))


def session_path(server, id):
    """The file that the access key id of a session leads to."""
    return server.iam / "sessions" / id[4:8] / f"{id}.json"


def session_key(credentials):
    return Key(credentials["AccessKeyId"], credentials["SecretAccessKey"],
               credentials["SessionToken"])


def token(key):
    session = boto3.Session(key.id, key.secret, key.session_token, region_name="us-east-1")
    return session.client("dsql").generate_db_connect_auth_token("localhost")


def frozen_key(credentials):
    frozen = credentials.get_frozen_credentials()
    return Key(frozen.access_key, frozen.secret_key, frozen.token)


def end_session(server, key, age=datetime.timedelta(seconds=1)):
    """Makes a session that was begun here have ended that long ago; gives its document's path."""
    path = session_path(server, key.id)
    document = json.loads(path.read_text())
    end = datetime.datetime.now(datetime.UTC) - age
    document["Credentials"]["Expiration"] = end.isoformat(timespec="seconds")
    server.write(path, json.dumps(document))
    return path


@contextlib.contextmanager
def five_minutes_before_the_end(credentials):
    """Lets botocore think that 55 of the 60 minutes of a session are over: it then asks anew."""
    now = botocore.credentials._local_now
    later = datetime.timedelta(minutes=55)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.credentials, "_local_now", lambda: now() + later)
        patch.setattr(credentials, "_time_fetcher", lambda: now() + later)
        yield
