"""Each version's script, brought up to the newest, leaves what a fresh CREATE EXTENSION makes."""

import contextlib
import os
import pathlib
import re

import psycopg
import pytest

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
SCRIPT = re.compile(r"dsql_iam--(\d+\.\d+\.\d+)\.sql")
# Of this checkout, not of the installation: a script that is not installed has to be missed.
VERSIONS = sorted(match[1] for path in (WORKSPACE / "sql").iterdir()
                  if (match := SCRIPT.fullmatch(path.name)))
NEWEST = max(VERSIONS, key=lambda version: [int(part) for part in version.split(".")])

# An ACL without the order of its entries; without one, what that stands for.
ACL = ("(SELECT array_agg(entry::text ORDER BY entry::text COLLATE \"C\") "
       "FROM unnest(coalesce({acl}, acldefault('{kind}', {owner}))) AS entry)")
# The extension's objects, and the other changes of its script, as text: no OIDs.
CONTENTS = f"""
WITH members AS (
    SELECT classid, objid, objsubid, pg_describe_object(classid, objid, objsubid) AS name
      FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
       AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dsql_iam'))
SELECT name, 'is there' AS what, NULL AS value FROM members
UNION ALL
SELECT name, 'comment', obj_description(objid, classid::regclass::name) FROM members
UNION ALL
SELECT name, 'privileges at its creation', (
           SELECT array_agg(entry::text ORDER BY entry::text COLLATE "C")::text
             FROM pg_init_privs, unnest(initprivs) AS entry
            WHERE (classoid, pg_init_privs.objoid) = (classid, objid))
  FROM members
UNION ALL
SELECT name, 'definition', pg_get_functiondef(oid) FROM members JOIN pg_proc
    ON classid = 'pg_proc'::regclass AND oid = objid
UNION ALL
SELECT name, 'owner and privileges',
       concat(proowner::regrole, {ACL.format(acl='proacl', kind='f', owner='proowner')})
  FROM members JOIN pg_proc ON classid = 'pg_proc'::regclass AND oid = objid
UNION ALL
SELECT name, 'definition', concat(relkind, reloptions, pg_get_viewdef(oid)) FROM members JOIN pg_class
    ON classid = 'pg_class'::regclass AND oid = objid
UNION ALL
SELECT name, 'owner and privileges',
       concat(relowner::regrole, {ACL.format(acl='relacl', kind='r', owner='relowner')})
  FROM members JOIN pg_class ON classid = 'pg_class'::regclass AND oid = objid
UNION ALL
SELECT name, 'column ' || attname, concat(attnum, ' ', format_type(atttypid, atttypmod), attacl)
  FROM members JOIN pg_attribute ON classid = 'pg_class'::regclass AND attrelid = objid
UNION ALL
SELECT name, 'owner and privileges',
       concat(nspowner::regrole, {ACL.format(acl='nspacl', kind='n', owner='nspowner')})
  FROM members JOIN pg_namespace ON classid = 'pg_namespace'::regclass AND oid = objid
UNION ALL
SELECT 'extension', 'version', concat_ws(' ', extversion, extrelocatable, extnamespace::regnamespace)
  FROM pg_extension WHERE extname = 'dsql_iam'
UNION ALL
SELECT 'schema public', 'privileges', {ACL.format(acl='nspacl', kind='n', owner='nspowner')}::text
  FROM pg_namespace WHERE nspname = 'public'
UNION ALL
SELECT 'database', 'privileges', {ACL.format(acl='datacl', kind='d', owner='datdba')}::text
  FROM pg_database WHERE datname = current_database()
ORDER BY 1, 2, 3
"""


@contextlib.contextmanager
def database(server, name):
    server.execute(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    try:
        with server.superuser(dbname=name) as connection:
            yield connection
    finally:
        server.execute(f"DROP DATABASE {name}")


def fresh_contents(server):
    with database(server, "versions_fresh") as connection:
        connection.execute("CREATE EXTENSION dsql_iam")
        return connection.execute(CONTENTS).fetchall()


def upgraded_contents(server, version):
    with database(server, "versions_upgraded") as connection:
        connection.execute(f"CREATE EXTENSION dsql_iam VERSION '{version}'")
        before, = connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'dsql_iam'").fetchone()
        assert before == version
        connection.execute("ALTER EXTENSION dsql_iam UPDATE")
        return connection.execute(CONTENTS).fetchall()


def test_the_default_version_is_the_newest(own):
    assert own.execute("SELECT default_version FROM pg_available_extensions "
                       "WHERE name = 'dsql_iam'") == [(NEWEST,)]
    installed = own.execute("SELECT version FROM pg_available_extension_versions "
                            "WHERE name = 'dsql_iam' ORDER BY version COLLATE \"C\"")
    assert [version for version, in installed] == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_can_be_brought_up_to_the_newest(own, version):
    contents = fresh_contents(own)
    names = {name for name, *_ in contents}
    assert {"schema sys", "function sys.iam_grant(text,text)",
            "view sys.iam_pg_role_mappings"} <= names
    assert upgraded_contents(own, version) == contents


# That it can fail: an older version, made up for the test

OLDER = "0.0.1"
VIEW = "CREATE VIEW sys.iam_pg_role_mappings AS"


@pytest.fixture
def older(own):
    """Installs an older version, which is the newest one with changes, and a script that upgrades it."""
    folder = pathlib.Path(own.execute(
        "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")[0][0]) / "extension"
    script = (WORKSPACE / f"sql/dsql_iam--{NEWEST}.sql").read_text()
    made = [folder / f"dsql_iam--{OLDER}.sql", folder / f"dsql_iam--{OLDER}--{NEWEST}.sql"]

    def install(change, upgrade):
        was, is_now = change
        assert script.count(was) == 1, was
        for path, text in zip(made, [script.replace(was, is_now), upgrade]):
            assert not path.is_symlink()
            path.write_text(text)
            path.chmod(0o644)

    yield install
    for path in made:
        path.unlink(missing_ok=True)


def statement(start):
    """The statement of the newest script that starts so."""
    script = (WORKSPACE / f"sql/dsql_iam--{NEWEST}.sql").read_text()
    found, = re.findall(rf"^{re.escape(start)}[^;]*;", script, re.MULTILINE)
    return found


CHANGES = {
    "a function that was not there": "CREATE FUNCTION sys.current_session_id()",
    "a comment": "COMMENT ON VIEW sys.iam_pg_role_mappings",
    "a privilege that is taken away": "REVOKE ALL ON FUNCTION sys.explain_token(text, text)",
    "a privilege that is given": "GRANT SELECT ON sys.iam_pg_role_mappings",
    "a privilege on the schema": "GRANT USAGE ON SCHEMA sys",
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_an_upgrade_leaves_out_is_found(own, older, what):
    left_out = statement(CHANGES[what])
    instead = ""
    if left_out.startswith("CREATE FUNCTION"):
        # Its comment goes with it.
        comment = statement("COMMENT ON FUNCTION sys.current_session_id()")
        left_out += "\n" + comment
    older((left_out, instead), "SELECT 1;")
    assert upgraded_contents(own, OLDER) != fresh_contents(own)
    older((left_out, instead), left_out)
    assert upgraded_contents(own, OLDER) == fresh_contents(own)


@pytest.mark.parametrize(("was", "instead"), [
    ("'iam_revoke_wrapper' LANGUAGE C VOLATILE", "'iam_grant_wrapper' LANGUAGE C VOLATILE"),
    ("'iam_session_user_wrapper' LANGUAGE C STABLE", "'iam_session_user_wrapper' LANGUAGE C VOLATILE"),
    ("SECURITY DEFINER SET search_path = pg_catalog, pg_temp;", "SECURITY DEFINER;"),
    ("role.rolname::text AS pg_role_name,", "upper(role.rolname)::text AS pg_role_name,"),
    ("mapping.arn,", "mapping.arn::varchar AS arn,"),
    ("COMMENT ON FUNCTION sys.doctor() IS 'whether", "COMMENT ON FUNCTION sys.doctor() IS 'if"),
])
def test_what_an_upgrade_does_not_change_is_found(own, older, was, instead):
    older((was, instead), "SELECT 1;")
    assert upgraded_contents(own, OLDER) != fresh_contents(own)


def test_what_an_upgrade_does_not_drop_is_found(own, older):
    more = "CREATE FUNCTION sys.no_more() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
    older((VIEW, more + VIEW), "SELECT 1;")
    assert upgraded_contents(own, OLDER) != fresh_contents(own)
    older((VIEW, more + VIEW), "DROP FUNCTION sys.no_more();")
    assert upgraded_contents(own, OLDER) == fresh_contents(own)


def test_a_version_without_a_way_to_the_newest_is_found(own, older):
    older((VIEW, VIEW), "SELECT 1;")
    folder = pathlib.Path(own.execute(
        "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")[0][0]) / "extension"
    (folder / f"dsql_iam--{OLDER}--{NEWEST}.sql").unlink()
    with pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
        upgraded_contents(own, OLDER)
    assert "has no update path" in raised.value.diag.message_primary
