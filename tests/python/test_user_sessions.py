"""`GetSessionToken`: sessions of users, with and without multi-factor authentication, as policies ask for it."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import struct
import subprocess
import time

import boto3
import pytest
from botocore.exceptions import ClientError

from assumable import ALICE, BOB, CHAINED, session_key, session_path, stored, trust, with_roles
from sts_service import Sts
from support import ACCOUNT, REGION, SECRETS, Key, access_key, assumed_role, policy, sign, until

USER = f"arn:aws:iam::{ACCOUNT}:user/alice"
WRONG_CODE = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
NO_DEVICE = ("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is "
             "valid and associated with this user.")
INCOMPLETE = "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."


class Device:
    """A virtual device, of which only the test has the secret beside the documents."""

    def __init__(self, name, user="alice"):
        self.serial = f"arn:aws:iam::{ACCOUNT}:mfa/{name}"
        self.secret = hashlib.sha256(name.encode()).digest()
        self.seed = base64.b32encode(self.secret).decode().rstrip("=")
        self.user = user
        SECRETS.add(self.seed)

    def document(self):
        return {"SerialNumber": self.serial, "Base32StringSeed": self.seed,
                "User": {"UserName": self.user, "Arn": f"arn:aws:iam::{ACCOUNT}:user/{self.user}"}}

    def code(self, steps=0):
        """The code that it shows now, or that many half minutes later."""
        mac = hmac.digest(self.secret, struct.pack(">Q", int(time.time()) // 30 + steps), "sha1")
        number, = struct.unpack_from(">I", mac, mac[-1] & 15)
        return f"{(number & 0x7fffffff) % 1_000_000:06}"

    def now(self, steps=0):
        return {"SerialNumber": self.serial, "TokenCode": self.code(steps)}


FIRST, ONCE, ROLES, COMMANDS, PROFILE, WAYS, ASKS, RIGHT = (
    Device(name) for name in ["first", "once", "roles", "commands", "profile", "ways", "asks", "right"])
BOBS = Device("bobs", "bob")


@pytest.fixture(scope="module")
def iam(own):
    """alice may log in as admin with a device alone, that was used in the last hour; bob may without."""
    connect = policy("dsql:DbConnectAdmin", "sts:AssumeRole")
    with_device = policy("dsql:*", effect="Deny",
                         Condition={"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}})
    lately = policy("dsql:*", effect="Deny",
                    Condition={"NumericGreaterThan": {"aws:MultiFactorAuthAge": "3600"}})
    export = with_roles(users={"alice": [connect, with_device, lately], "bob": [connect]},
                        delegating=trust(USER),
                        guarded=trust(f"arn:aws:iam::{ACCOUNT}:root", Condition={
                            "Bool": {"aws:MultiFactorAuthPresent": "true"},
                            "NumericLessThan": {"aws:MultiFactorAuthAge": "300"}}))
    devices = {"VirtualMFADevices": [device.document() for device in [FIRST, ROLES, COMMANDS, PROFILE, WAYS, ASKS, RIGHT]]}
    # As create-virtual-mfa-device and list-mfa-devices print them.
    created = {"VirtualMFADevice": {"SerialNumber": ONCE.serial, "Base32StringSeed": ONCE.seed}}
    enabled = {"MFADevices": [{"UserName": "alice", "SerialNumber": ONCE.serial}]}
    with own.documents(export=export, alice=access_key("alice", ALICE), bob=access_key("bob", BOB),
                       chained=assumed_role("delegating", CHAINED), devices=devices, created=created,
                       enabled=enabled, bobs={"VirtualMFADevices": [BOBS.document()]}):
        yield own
        shutil.rmtree(own.iam / "sessions", ignore_errors=True)


@pytest.fixture
def sts(iam):
    """One for each test, since it counts the codes that a user tries."""
    sts = Sts(iam)
    yield sts
    sts.end()


def admin_token(key):
    return sign(key, "DbConnectAdmin", region=REGION)


def session(sts, key=ALICE, **parameters):
    said = sts.client(key).get_session_token(**parameters)
    assert set(said) == {"Credentials", "ResponseMetadata"}
    return session_key(said["Credentials"])


def refused(call, **parameters):
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize(("key", "parameters", "code", "message"), [
    (CHAINED, {}, "AccessDenied", "Cannot call GetSessionToken with session credentials"),
    (ALICE, {"DurationSeconds": 899}, "ValidationError", "greater than or equal to 900"),
    (ALICE, {"DurationSeconds": 129601}, "ValidationError", "less than or equal to 129600"),
    (ALICE, {"SerialNumber": FIRST.serial}, "AccessDenied", INCOMPLETE),
    (ALICE, {"TokenCode": "123456"}, "AccessDenied", INCOMPLETE),
    (ALICE, {"SerialNumber": FIRST.serial, "TokenCode": "12345a"}, "ValidationError", "at 'tokenCode'"),
    (ALICE, {"SerialNumber": FIRST.serial + "x", "TokenCode": "123456"}, "AccessDenied", NO_DEVICE),
    (ALICE, {"SerialNumber": BOBS.serial, "TokenCode": "123456"}, "AccessDenied", NO_DEVICE),
])
def test_what_is_refused(iam, sts, key, parameters, code, message):
    before = stored(iam)
    client = boto3.client("sts", endpoint_url=sts.url, region_name=REGION, aws_access_key_id=key.id,
                          aws_secret_access_key=key.secret, aws_session_token=key.session_token,
                          config=boto3.session.Config(parameter_validation=False))
    refusal = refused(client.get_session_token, **parameters)
    assert refusal[0] == code and message in refusal[1], refusal
    assert stored(iam) == before


def test_codes_that_are_not_the_devices(sts):
    code = f"{(int(FIRST.code()) + 1) % 1_000_000:06}"
    for wrong in (code, FIRST.code(-5), FIRST.code(5), ROLES.code()):
        refusal = refused(sts.client().get_session_token, SerialNumber=FIRST.serial, TokenCode=wrong)
        assert refusal == ("AccessDenied", WRONG_CODE)
    assert not any(wrong in line for line in sts.errors)


def test_a_code_counts_once(iam, sts):
    given = ONCE.now()
    session(sts, **given)
    before = stored(iam)
    for call in (sts.client().get_session_token, lambda **mfa: sts.client().assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/guarded", RoleSessionName="s1", **mfa)):
        assert refused(call, **given) == ("AccessDenied", WRONG_CODE)
    assert stored(iam) == before
    until(lambda: any(f"this code of {ONCE.serial} has been used" in line for line in sts.errors), "it is logged")
    session(sts, **ONCE.now(1))


def test_codes_cannot_be_tried_one_after_the_other(sts):
    client = boto3.client("sts", endpoint_url=sts.url, region_name=REGION, aws_access_key_id=BOB.id,
                          aws_secret_access_key=BOB.secret,
                          config=boto3.session.Config(retries={"max_attempts": 0}))
    code = f"{(int(BOBS.code()) + 1) % 1_000_000:06}"
    codes = [refused(client.get_session_token, SerialNumber=BOBS.serial, TokenCode=code)[0] for _ in range(25)]
    # Two quarters of an hour may have a share in it.
    assert codes.count("AccessDenied") in range(10, 21) and "Throttling" in codes
    # The key alone gets a session as before.
    session(sts, BOB)


def test_a_right_code_is_no_try_whatever_else_is_refused(sts):
    client = boto3.client("sts", endpoint_url=sts.url, region_name=REGION, aws_access_key_id=ALICE.id,
                          aws_secret_access_key=ALICE.secret,
                          config=boto3.session.Config(retries={"max_attempts": 0}))
    for _ in range(25):
        code, message = refused(client.assume_role, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/nobodys", RoleSessionName="s1",
                                **RIGHT.now())
        assert code == "AccessDenied" and "is not authorized to perform: sts:AssumeRole" in message
    session(sts, **RIGHT.now())


def test_a_session_calls_iam_with_a_device_alone(sts):
    """The caller's own policies, which have nothing of IAM's, are asked behind that."""
    asked = {"PolicyInputList": ["{}"], "ActionNames": ["a:b"]}
    for parameters, code, message in [
            ({}, "InvalidClientTokenId", "The security token included in the request is invalid."),
            (ASKS.now(), "AccessDenied", f"User: {USER} is not authorized to perform: iam:SimulateCustomPolicy on resource: "
             "* because no identity-based policy allows the iam:SimulateCustomPolicy action")]:
        client = sts.client(session(sts, **parameters), "iam")
        assert refused(client.simulate_custom_policy, **asked) == (code, message)


def test_logging_in_as_policies_want_it(iam, sts):
    denied = "with an explicit deny in an identity-based policy"
    for key in (ALICE, session(sts)):
        assert denied in iam.refusal("admin", admin_token(key)).hint
    key = session(sts, **FIRST.now())
    with iam.connect("admin", admin_token(key)) as connection:
        assert connection.execute("SELECT sys.iam_session_user()").fetchone() == (USER,)
    # Without a policy that asks, a user's session may what the user may.
    assert iam.admits("admin", admin_token(session(sts, BOB)))
    # The device was used when the session began.
    path = session_path(iam, key.id)
    document = json.loads(path.read_text())
    document["Request"]["DurationSeconds"] = 43200 + 3660
    iam.write(path, json.dumps(document))
    assert denied in iam.refusal("admin", admin_token(key)).hint


def test_how_long_it_lasts_and_who_it_is(sts):
    now = time.time()
    for seconds, parameters in [(43200, {}), (129600, {"DurationSeconds": 129600})]:
        said = sts.client().get_session_token(**parameters)["Credentials"]
        assert abs(said["Expiration"].timestamp() - now - seconds) < 60
        key = session_key(said)
        identity = sts.client(key).get_caller_identity()
        assert (identity["Arn"], identity["Account"]) == (USER, ACCOUNT)
        assert refused(sts.client(key).get_session_token)[0] == "AccessDenied"


def test_a_role_that_wants_a_device(iam, sts):
    role = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/guarded", "RoleSessionName": "s1"}
    for key in (ALICE, session(sts)):
        code, message = refused(sts.client(key).assume_role, **role)
        assert code == "AccessDenied" and "is not authorized to perform: sts:AssumeRole" in message
    sts.client().assume_role(**role, **ROLES.now())
    sts.client(session(sts, **ROLES.now(1))).assume_role(**role)
    arguments = ["--role-arn", role["RoleArn"], "--role-session-name", "s1", "--serial-number", COMMANDS.serial]
    command = [iam.command, "assume-role", *arguments, "--token-code"]
    key = {"AWS_ACCESS_KEY_ID": ALICE.id, "AWS_SECRET_ACCESS_KEY": ALICE.secret}
    environment = os.environ | iam.variables | key
    run = lambda code: subprocess.run([*command, code], env=environment, text=True, capture_output=True, timeout=60)
    done = run(COMMANDS.code(-5))
    assert done.returncode == 1 and WRONG_CODE.strip() in done.stderr and done.stdout == ""
    done = run(COMMANDS.code())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["AssumedRoleUser"]["Arn"].endswith("/guarded/s1")


def test_a_profile_with_mfa_serial(iam, sts, tmp_path, monkeypatch):
    """As people have it for AWS: botocore asks for the code."""
    config = tmp_path / "config"
    config.write_text(f"""[profile alice]
aws_access_key_id = {ALICE.id}
aws_secret_access_key = {ALICE.secret}
[profile guarded]
region = {REGION}
role_arn = arn:aws:iam::{ACCOUNT}:role/guarded
source_profile = alice
mfa_serial = {PROFILE.serial}
""")
    for name, value in (iam.variables | sts.variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setattr("getpass.getpass", lambda prompt: PROFILE.code())
    session = boto3.Session(profile_name="guarded")
    provider = session._session.get_component("credential_provider").get_provider("assume-role")
    provider._prompter = lambda prompt: PROFILE.code()
    identity = session.client("sts").get_caller_identity()
    assert "assumed-role/guarded/" in identity["Arn"]


def test_sessions_of_aws_as_documents(iam):
    """`aws sts get-session-token` does not say whose the session is; `aws sts get-caller-identity` does."""
    key = Key("ASIA" + "U" * 16, "the secret of a session of the user alice", "a-session-token-" * 8)
    printed = {"Credentials": {"AccessKeyId": key.id, "SecretAccessKey": key.secret,
                               "SessionToken": key.session_token, "Expiration": "2099-01-01T00:00:00+00:00"}}
    caller = {"UserId": "AIDA", "Account": ACCOUNT, "Arn": USER}
    asked = {"Request": {"DurationSeconds": 900, "SerialNumber": FIRST.serial, "TokenCode": "123456"}}
    check = lambda: subprocess.run([iam.command, "check"], text=True, capture_output=True,
                                   env=os.environ | iam.variables).stdout
    with iam.documents(user=printed):
        assert "credentials without their owner: add the output of aws sts get-caller-identity" in check()
    for wrong, said in [({"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/App/s"}, "Arn has to be a user's ARN"),
                        ({"Request": {"Policy": "{}"}}, "unknown field `Policy`"),
                        ({"Request": {"DurationSeconds": 899}}, "not between 900 and 129600")]:
        with iam.documents(user=printed | caller | wrong):
            assert said in check()
    with iam.documents(user=printed | caller):
        assert "explicit deny" in iam.refusal("admin", admin_token(key)).hint
        assert f"session of {USER}" in check()
    in_force = {"Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))}
    with iam.documents(user=printed | caller | asked | {"Credentials": printed["Credentials"] | in_force}):
        assert iam.admits("admin", admin_token(key))
    with iam.documents(user=printed | caller | asked | {"UserId": "AIDAANOTHER"}):
        assert iam.refusal("admin", admin_token(key)).hint == (
            "The security token included in the request is invalid.")


def test_devices_that_others_can_read_or_that_are_wrong(iam):
    check = lambda: subprocess.run([iam.command, "check"], text=True, capture_output=True,
                                   env=os.environ | iam.variables).stdout
    path = iam.iam / "wrong-device.json"
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: path.unlink(missing_ok=True))
        device = Device("wrong")
        iam.write(path, json.dumps({"VirtualMFADevice": device.document()}), 0o644)
        assert "holds a secret but has mode 0644; it must be 0600" in check()
        root = {"User": {"Arn": f"arn:aws:iam::{ACCOUNT}:root"}}
        iam.write(path, json.dumps({"VirtualMFADevices": [device.document() | root]}), 0o644)
        assert "holds a secret but has mode 0644; it must be 0600" in check()
        for member, said in [({"Base32StringSeed": device.seed.lower()}, "is not base32 of 16 to 128 bytes"),
                             ({"Base32StringSeed": "GEZDGNBV"}, "is not base32 of 16 to 128 bytes"),
                             ({"SerialNumber": "GAHT12345678"}, "is not the ARN of a device"),
                             ({"User": {"Arn": "arn:aws:iam::1:role/x"}}, "an Arn that is not a user's"),
                             ({"SerialNumber": FIRST.serial}, f"duplicate Base32StringSeed of {FIRST.serial}"),
                             ({"SerialNumber": ONCE.serial, "Base32StringSeed": None}, "a member is null")]:
            iam.write(path, json.dumps({"VirtualMFADevice": device.document() | member}))
            found = check()
            assert said in found and device.seed not in found and device.seed.lower() not in found, found
        nobodys = device.document()
        del nobodys["User"]
        iam.write(path, json.dumps({"VirtualMFADevice": nobodys}))
        assert f"{device.serial}: is nobody's; no code of it counts" in check().replace("\n", " ")
        anothers = device.document()
        anothers["User"]["UserId"] = "AIDABEFORE"
        iam.write(path, json.dumps({"VirtualMFADevice": anothers}))
        assert (f"{device.serial}: is of another user than {USER}: their UserId differs; no code of it counts"
                in check().replace("\n", " "))
