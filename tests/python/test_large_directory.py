"""A directory with 5,000 roles and as many policies."""

import json

from support import ACCOUNT, DENIED, Key, account, assumed_role, sign

COUNT = 5_000
ADMITTED = Key("ASIALARGEADMITTED001", "the-secret-of-one-role-among-many", "a-session-token" * 4)
ANOTHER = Key("ASIALARGEANOTHER0001", "the-secret-of-one-that-came-later", "c-session-token" * 4)
REFUSED = Key("ASIALARGEREFUSED0001", "the-secret-of-another-among-many", "b-session-token" * 4)


def arn(kind, number):
    return f"arn:aws:iam::{ACCOUNT}:{kind}/many{number}"


def many(allowed):
    """Roles, each with a managed policy of its own; those of `allowed` may connect."""
    details = account(roles={f"many{number}": [] for number in range(COUNT)})
    for number, role in enumerate(details["RoleDetailList"]):
        role["AttachedManagedPolicies"] = [
            {"PolicyName": f"many{number}", "PolicyArn": arn("policy", number)}]
    details["Policies"] = [{
        "PolicyName": f"many{number}", "Arn": arn("policy", number), "DefaultVersionId": "v2",
        "PolicyVersionList": [{
            "VersionId": version, "IsDefaultVersion": version == "v2",
            "Document": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Resource": "*",
                "Action": "dsql:DbConnect" if version == "v2" and number in allowed else "s3:*",
            }]},
        } for version in ("v2", "v1")],
    } for number in range(COUNT)]
    return details


def test_a_role_among_5000_logs_in_and_another_does_not(own, role):
    name = role("among_many", on=own)
    for number in 4242, 4243:
        own.execute(f"AWS IAM GRANT {name} TO '{arn('role', number)}'")
    login = lambda key: own.admits(name, sign(key, "DbConnect"))
    start = own.log_mark()
    with own.documents(many=many({4242}), admitted=assumed_role("many4242", ADMITTED),
                       refused=assumed_role("many4243", REFUSED)):
        own.restart()
        mark = own.log_mark()
        loads = lambda: own.log_since(mark).count("dsql_iam: loaded ")
        assert login(ADMITTED)
        refusal = own.refusal(name, sign(REFUSED, "DbConnect"))
        assert (refusal.sqlstate, refusal.message) == ("08006", DENIED)
        assert refusal.hint.endswith(
            "because no identity-based policy allows the dsql:DbConnect action")
        # The postmaster has it: no login loads it again.
        assert loads() == 0

        # A change counts from the next connection on, which loads it for all that follow.
        own.write(own.iam / "many.json", json.dumps(many({4243})))
        own.is_read_once(own.iam / "many.json")
        assert not login(ADMITTED)
        assert login(REFUSED) and not login(ADMITTED)
        assert loads() == 1
        # So does each session of a role that begins.
        with own.documents(another=assumed_role("many4243", ANOTHER)):
            assert login(ANOTHER) and login(REFUSED) and not login(ADMITTED)
            assert loads() == 2

        done = own.run("check", "--strict")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0 errors, 0 warnings")
        assert arn("policy", COUNT - 1) in done.stdout
    own.reload()
    assert "could not" not in own.log_since(start)
