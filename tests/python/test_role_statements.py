"""Every statement that PostgreSQL's grammar has on roles, about every kind of role that carries authority, at no,
one and two removes, by everybody who might try. data/role_statements.tsv has the result of each; and in every case
nobody but a superuser ends with more than before.

ACCEPT_ROLE_STATEMENTS=1 writes what this version of PostgreSQL gives into the table, instead of comparing.
"""

import itertools
import os
import pathlib

import psycopg
import pytest

from support import EXAMPLE_ARN

TABLE = pathlib.Path(__file__).parent / "data" / "role_statements.tsv"

# The kinds, and what makes a role of each. At one remove there is a member of that role, at two its member.
KINDS = {
    "admin": None,
    "exempt": "CREATE ROLE exempt LOGIN PASSWORD 'theirs'",
    "mapped": "CREATE ROLE mapped LOGIN",
    "monitor": "CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
    "bypasses": "CREATE ROLE bypasses LOGIN BYPASSRLS",
    "replicates": "CREATE ROLE replicates LOGIN REPLICATION",
}
MISSING = "exempt_missing"
TARGETS = [f"{kind}{remove}" for kind in KINDS for remove in ("", "_1", "_2")] + [MISSING]

# gram.y, PostgreSQL 14 to 18: each production that makes, changes, joins, names, describes or drops a role, or
# acts as one. {t} is the target, `other` an ordinary role, `made` a role that there is not.
STATEMENTS = [
    # CreateRoleStmt, CreateUserStmt, CreateGroupStmt with CreateOptRoleElem
    *(f"CREATE {word} {{t}}" for word in ("ROLE", "USER", "GROUP")),
    "CREATE ROLE {t} SUPERUSER", "CREATE USER {t} PASSWORD 'mine'", "CREATE ROLE {t} LOGIN ROLE CURRENT_USER",
    *(f"CREATE ROLE made {option} {{t}}"
      for option in ("IN ROLE", "IN GROUP", "ROLE", "USER", "ADMIN")),
    "CREATE USER made IN ROLE {t}", "CREATE GROUP made IN ROLE {t}",
    # AlterRoleStmt with AlterOptRoleElem
    *(f"ALTER ROLE {{t}} {option}"
      for option in ("PASSWORD 'mine'", "PASSWORD NULL", "ENCRYPTED PASSWORD 'mine'", "LOGIN", "NOLOGIN",
                     "SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "NOREPLICATION", "BYPASSRLS",
                     "NOBYPASSRLS", "NOINHERIT", "CONNECTION LIMIT 7", "VALID UNTIL 'infinity'",
                     "LOGIN PASSWORD 'mine'", "")),
    "ALTER USER {t} PASSWORD 'mine'", "ALTER USER {t} WITH NOLOGIN", "ALTER ROLE {t} USER other",
    # AlterRoleSetStmt
    *(f"ALTER {start} {what}"
      for start in ("ROLE {t}", "USER {t}", "ROLE {t} IN DATABASE postgres")
      for what in ("SET work_mem = '1MB'", "SET search_path = mine", "RESET work_mem", "RESET ALL",
                   "SET work_mem FROM CURRENT")),
    # AlterGroupStmt
    "ALTER GROUP {t} ADD USER other", "ALTER GROUP {t} DROP USER other", "ALTER GROUP other ADD USER {t}",
    "ALTER GROUP other DROP USER {t}", "ALTER GROUP {t} ADD USER CURRENT_USER",
    # RenameStmt
    *(f"ALTER {word} {{t}} RENAME TO made" for word in ("ROLE", "USER", "GROUP")),
    "ALTER ROLE other RENAME TO {t}",
    # DropRoleStmt
    *(f"DROP {word} {{t}}" for word in ("ROLE", "USER", "GROUP")),
    "DROP ROLE IF EXISTS {t}", "DROP ROLE other, {t}",
    # GrantRoleStmt, RevokeRoleStmt
    "GRANT {t} TO other", "GRANT {t} TO CURRENT_USER", "GRANT {t} TO SESSION_USER WITH ADMIN OPTION",
    "GRANT other, {t} TO other_2", "GRANT {t} TO other GRANTED BY CURRENT_USER", "GRANT other TO {t}",
    "REVOKE {t} FROM other", "REVOKE ADMIN OPTION FOR {t} FROM other", "REVOKE other FROM {t}",
    # CommentStmt, SecLabelStmt
    "COMMENT ON ROLE {t} IS 'mine'", "SECURITY LABEL ON ROLE {t} IS 'mine'",
    f"""SECURITY LABEL FOR "dsql_iam:{EXAMPLE_ARN}" ON ROLE {{t}} IS NULL""",
    # what a role owns
    "REASSIGN OWNED BY {t} TO other", "REASSIGN OWNED BY other TO {t}", "DROP OWNED BY {t}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {t} GRANT ALL ON TABLES TO other",
    # acting as a role. Not SET SESSION AUTHORIZATION: what counts for that is who has logged in, here a superuser.
    "SET ROLE {t}", "SET LOCAL ROLE {t}",
    "SELECT set_config('role', '{t}', false)",
    # ours
    f"AWS IAM GRANT {{t}} TO '{EXAMPLE_ARN}'", f"AWS IAM REVOKE {{t}} FROM '{EXAMPLE_ARN}'",
    f"SELECT sys.iam_grant('{{t}}', '{EXAMPLE_ARN}')",
]
# Those that are about all roles.
OF_ALL = ["ALTER ROLE ALL SET work_mem = '1MB'", "ALTER USER ALL RESET ALL",
          "ALTER ROLE ALL IN DATABASE postgres SET work_mem = '1MB'"]

ACTORS = {
    "admin": ("admin", "{}"),
    "a CREATEROLE role": ("maker", "{}"),
    "a member of admin": ("member", "{}"),
    "a function of admin's": ("nobody", "SELECT definer($statement${}$statement$)"),
}

# Each role with its reach beyond ordinary roles; the passwords, settings and mappings of those that reach
# something; the owners of reserved names.
POWER = """
WITH RECURSIVE reached (role, other) AS (
    SELECT oid, oid FROM pg_roles WHERE NOT rolsuper
    UNION
    SELECT reached.role, roleid FROM reached JOIN pg_auth_members ON member = other {uses}
), power AS (
    SELECT role, rolname AS other, power
      FROM reached JOIN pg_authid ON pg_authid.oid = other
     CROSS JOIN LATERAL (VALUES
           (CASE WHEN rolsuper THEN 'SUPERUSER' END), (CASE WHEN rolreplication THEN 'REPLICATION' END),
           (CASE WHEN rolbypassrls THEN 'BYPASSRLS' END), (CASE WHEN starts_with(rolname, 'pg_') THEN rolname END),
           (CASE WHEN rolname IN ('admin', 'exempt', 'exempt_missing') THEN rolname END)) AS has (power)
     WHERE power IS NOT NULL
)
SELECT 'reach', role::text, power::text FROM power
UNION SELECT 'name', oid::text, rolname FROM pg_authid WHERE rolname IN ('admin', 'exempt', 'exempt_missing')
UNION SELECT 'password', oid::text, rolpassword FROM pg_authid
       WHERE oid IN (SELECT role FROM power) AND rolpassword IS NOT NULL
UNION SELECT 'settings', setrole::text, setting FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
       WHERE setrole IN (SELECT role FROM power) AND NOT starts_with(setting, 'search_path')
UNION SELECT 'mapping', pg_role_oid::text, arn FROM sys.iam_pg_role_mappings
       WHERE pg_role_oid IN (SELECT role FROM power)
UNION SELECT 'superuser', oid::text, '' FROM pg_roles WHERE rolsuper
"""


@pytest.fixture(scope="module")
def superuser(own):
    """A connection in which all the roles are, for as long as it lasts."""
    with own.settings(dsql_iam__exempt_roles=f"'exempt, {MISSING}'", restart=True), \
            own.superuser() as connection:
        connection.autocommit = False
        for statement in setup(own.version):
            connection.execute(statement)
        connection.execute("SAVEPOINT made")
        yield connection
        connection.rollback()


def setup(version):
    yield from (made for made in KINDS.values() if made)
    yield "CREATE ROLE other"
    yield "CREATE ROLE other_2"
    yield "CREATE ROLE maker LOGIN CREATEROLE"
    yield "CREATE ROLE member LOGIN IN ROLE admin"
    yield "CREATE ROLE nobody LOGIN"
    yield f"AWS IAM GRANT mapped TO '{EXAMPLE_ARN}0'"
    for kind in KINDS:
        yield f"CREATE ROLE {kind}_1 LOGIN IN ROLE {kind}"
        yield f"CREATE ROLE {kind}_2 LOGIN IN ROLE {kind}_1"
    yield """CREATE FUNCTION definer(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             AS 'BEGIN EXECUTE statement; END'"""
    yield "ALTER FUNCTION definer OWNER TO admin"
    if version >= 16:
        # Before, CREATEROLE alone reaches all of them. Now as for those whom it has made: it may hand them out.
        for role in [*TARGETS[:-1], "other", "other_2"]:
            yield f"GRANT {role} TO maker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            if not role.startswith("admin"):
                yield f"GRANT {role} TO admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"


def power(connection, version):
    uses = "AND (inherit_option OR set_option)" if version >= 16 else ""
    return set(connection.execute(POWER.format(uses=uses)).fetchall())


def outcome(connection, actor, statement):
    """The result: an SQLSTATE, or `ok`. It is not undone then."""
    role, carrier = ACTORS[actor]
    connection.execute("ROLLBACK TO made")
    connection.execute(f"SET SESSION AUTHORIZATION {role}")
    try:
        connection.execute(carrier.format(statement))
    except psycopg.Error as error:
        connection.execute("ROLLBACK TO made")
        return error.sqlstate
    connection.execute("RESET SESSION AUTHORIZATION")
    return "ok"


def refused(connection, role, statement):
    """The message and the DETAIL with which a statement of this role's is refused."""
    connection.execute("ROLLBACK TO made")
    connection.execute(f"SET SESSION AUTHORIZATION {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        connection.execute(statement)
    connection.execute("ROLLBACK TO made")
    return caught.value.diag.message_primary, caught.value.diag.message_detail


def test_the_name_admin_is_reserved_where_there_is_no_such_role(superuser):
    reserved = "The name is reserved while dsql_iam is loaded. Only superusers may create it while dsql_iam is loaded."
    for statement in ("CREATE ROLE admin LOGIN CREATEROLE PASSWORD 'mine' ROLE maker", "CREATE GROUP admin",
                      "ALTER ROLE other RENAME TO admin",
                      "DO $$ BEGIN EXECUTE 'ALTER USER other RENAME TO admin'; END $$"):
        superuser.execute("ROLLBACK TO made")
        superuser.execute("DROP EXTENSION dsql_iam")
        superuser.execute("DROP OWNED BY admin CASCADE")
        superuser.execute("DROP ROLE admin")
        superuser.execute("SAVEPOINT without")
        superuser.execute("SET SESSION AUTHORIZATION maker")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            superuser.execute(statement)
        assert caught.value.diag.message_primary == 'permission denied to create role "admin"'
        assert caught.value.diag.message_detail == reserved
    superuser.execute("ROLLBACK TO made")


def test_an_exempt_role_changes_its_own_password_and_nothing_else(superuser):
    listed = "It is listed in dsql_iam.exempt_roles. Only superusers may {} it while dsql_iam is loaded."
    change = 'permission denied to alter role "exempt"', listed.format("alter")
    assert refused(superuser, "maker", "ALTER ROLE exempt PASSWORD 'mine'") == change
    assert refused(superuser, "exempt", "ALTER ROLE exempt SET search_path = mine") == change
    assert refused(superuser, "maker", f"CREATE ROLE {MISSING}") == (
        f'permission denied to create role "{MISSING}"', listed.format("create"))
    assert refused(superuser, "maker", "DROP ROLE exempt") == (
        'permission denied to drop role "exempt"', listed.format("drop"))
    superuser.execute("SET SESSION AUTHORIZATION exempt")
    superuser.execute("ALTER ROLE CURRENT_USER PASSWORD 'its own'")
    superuser.execute("ROLLBACK TO made")
    # A member acts as the role, and is not it.
    superuser.execute("SET SESSION AUTHORIZATION exempt_1")
    superuser.execute("SET ROLE exempt")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match='permission denied to alter role "exempt"'):
        superuser.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    superuser.execute("ROLLBACK TO made")


def test_a_privilege_is_refused_at_any_remove_and_the_detail_says_which(superuser):
    for role, reason in {
        "bypasses": "It has the attribute BYPASSRLS.",
        "bypasses_2": 'It is a member of "bypasses", which has the attribute BYPASSRLS.',
        "replicates_1": 'It is a member of "replicates", which has the attribute REPLICATION.',
        "monitor_1": 'It is a member of "pg_monitor".',
        "exempt_1": 'It is a member of "exempt", which is listed in dsql_iam.exempt_roles.',
        "admin_1": 'It is a member of "admin".',
    }.items():
        assert refused(superuser, "admin", f"GRANT {role} TO other") == (
            f'permission denied to grant role "{role}"',
            f"{reason} Only superusers may grant it while dsql_iam is loaded.")
        assert refused(superuser, "admin", f"AWS IAM GRANT {role} TO '{EXAMPLE_ARN}'") == (
            f"permission denied to grant IAM trust with role {role}",
            f"{reason} Only superusers may map such roles.")


def test_no_trusted_extension_goes_into_sys_or_pg_catalog(superuser):
    superuser.execute("ROLLBACK TO made")
    superuser.execute("DROP EXTENSION plpgsql CASCADE")
    superuser.execute("SAVEPOINT without")
    for path, clause, schema in (("public", "SCHEMA sys", "sys"), ("public", "SCHEMA pg_catalog CASCADE", "pg_catalog"),
                                 ("sys", "", "sys"), ("pg_catalog, public", "", "pg_catalog")):
        superuser.execute(f"SET LOCAL search_path = {path}")
        superuser.execute("SET SESSION AUTHORIZATION admin")
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
            superuser.execute(f"CREATE EXTENSION plpgsql {clause}")
        superuser.execute("ROLLBACK TO without")
        assert caught.value.diag.message_primary == (
            f'permission denied to create extension "plpgsql" in schema "{schema}"')
        assert caught.value.diag.message_detail == (
            "Only superusers may put extensions into that schema while dsql_iam is loaded.")
    superuser.execute("SET SESSION AUTHORIZATION admin")
    superuser.execute("CREATE EXTENSION plpgsql")
    superuser.execute("CREATE EXTENSION IF NOT EXISTS plpgsql SCHEMA pg_catalog")  # as old dumps say
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        superuser.execute("ALTER EXTENSION plpgsql SET SCHEMA sys")
    superuser.execute("ROLLBACK TO made")


def cases():
    for statement in STATEMENTS:
        for target in TARGETS:
            yield statement, target
    for statement in OF_ALL:
        yield statement, "all"


def test_nobody_ends_with_more_than_before(superuser, own):
    before = power(superuser, own.version)
    found, gained = {}, []
    for (statement, target), actor in itertools.product(cases(), ACTORS):
        text = statement.replace("{t}", target)
        found[statement, target, actor] = result = outcome(superuser, actor, text)
        if result == "ok":
            more = power(superuser, own.version) - before
            gained += [f"{actor}: {text}: {what} of {role}: {name}" for what, role, name in more]
    assert not gained, "\n".join(gained)
    compare(found, own.version)


def compare(found, version):
    """Holds the outcomes against the table, in which those before 16 stand before a slash where they differ."""
    column = int(version >= 16)
    table = read_table()
    if os.environ.get("ACCEPT_ROLE_STATEMENTS"):
        for case, result in found.items():
            both = list(table.get(case, (result, result)))
            both[column] = result
            table[case] = tuple(both)
        write_table({case: table[case] for case in found})
        return
    wanted = {case: both[column] for case, both in table.items()}
    differing = [f"{case}: {wanted.get(case)} in the table, {found.get(case)} here"
                 for case in {**wanted, **found} if wanted.get(case) != found.get(case)]
    assert not differing, "\n".join(differing)


def read_table():
    table = {}
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    for line in lines[1:]:
        statement, targets, *outcomes = line.split("\t")
        for target, (actor, both) in itertools.product(targets.split(), zip(ACTORS, outcomes, strict=True)):
            old, _, new = both.partition("/")
            table[statement, target, actor] = (old, new or old)
    return table


def write_table(table):
    """Targets of which the same comes stand in one line."""
    lines = {}
    for (statement, target, actor), (old, new) in table.items():
        lines.setdefault((statement, target), []).append(old if old == new else f"{old}/{new}")
    grouped = {}
    for (statement, target), outcomes in lines.items():
        grouped.setdefault((statement, *outcomes), []).append(target)
    rows = [["statement", "roles", *ACTORS]]
    rows += [[statement, " ".join(targets), *outcomes]
             for (statement, *outcomes), targets in grouped.items()]
    TABLE.write_text("".join("\t".join(row) + "\n" for row in rows))
