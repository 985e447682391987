"""What stays in force when a document breaks: what was loaded last, by whichever process."""

import json
import os

from support import DENIED


def write(server, name, text):
    """A document, in one step, private and the server's."""
    path = server.iam / name
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    owner = server.iam.stat()
    os.chown(new, owner.st_uid, owner.st_gid)
    new.rename(path)


def test_a_broken_document_does_not_bring_back_what_a_later_one_took_away(own):
    name = "account-authorization-details.json"
    original = (own.iam / name).read_text()
    assert own.admits("admin", own.token("admin"))

    # The postmaster has the policies of its start; a backend alone sees this one.
    without = json.loads(original)
    for user in without["UserDetailList"]:
        user["UserPolicyList"] = []
        user["AttachedManagedPolicies"] = []
    try:
        write(own, name, json.dumps(without))
        refusal = own.refusal("admin", own.token("admin"))
        assert refusal.hint.endswith(
            "because no identity-based policy allows the dsql:DbConnectAdmin action")

        mark = own.log_mark()
        write(own, name, original + "x")
        for _ in range(2):
            refusal = own.refusal("admin", own.token("admin"))
            assert (refusal.sqlstate, refusal.message) == ("08006", DENIED)
            assert refusal.hint.endswith(
                "because no identity-based policy allows the dsql:DbConnectAdmin action")
        line = own.logged("stay in force", mark)
        assert name in line and "line" in line and "column" in line

        # A reload gives the postmaster the same.
        own.execute("SELECT pg_reload_conf()")
        assert not own.admits("admin", own.token("admin"))
    finally:
        write(own, name, original)
    assert own.admits("admin", own.token("admin"))
