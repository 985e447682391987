-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION dsql_iam" to load this file. \quit

-- Whoever may create in a schema of the search path could put a function or an operator there that fits
-- better than the server's own, and it would be called as the superuser, or as whoever reads the view.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The role that is there from the start. It may exist already, from an earlier CREATE EXTENSION
-- or a restored dump, but then it has to be what it would be made here.
DO $$
DECLARE
    existing pg_catalog.pg_roles;
    privileged name;
BEGIN
    SELECT * INTO existing FROM pg_catalog.pg_roles WHERE rolname = 'admin';
    IF NOT FOUND THEN
        CREATE ROLE admin WITH LOGIN CREATEROLE;
    ELSIF existing.rolsuper OR NOT existing.rolcanlogin OR NOT existing.rolcreaterole
          OR existing.rolcreatedb OR existing.rolreplication OR existing.rolbypassrls
          OR NOT existing.rolinherit OR existing.rolconnlimit <> -1
          OR existing.rolvaliduntil < 'infinity' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = 'role "admin" exists already and is not the one that dsql_iam needs',
            DETAIL = 'dsql_iam lets IAM principals log in as admin. It has to have the attributes LOGIN, CREATEROLE and INHERIT, no others, and no limits.',
            HINT = 'Rename that role, or: ALTER ROLE admin WITH LOGIN CREATEROLE INHERIT NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT -1 VALID UNTIL ''infinity''';
    END IF;
    -- What a superuser or a predefined role may, an IAM policy for admin should not give away. The owner
    -- of this database is a member of pg_database_owner, and may nothing beyond the database by it.
    SELECT rolname INTO privileged
      FROM pg_catalog.pg_roles
     WHERE (rolsuper OR starts_with(rolname, 'pg_') AND rolname <> 'pg_database_owner')
       AND pg_has_role('admin', oid, 'MEMBER')
     ORDER BY rolsuper DESC, rolname LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = 'role "admin" exists already and is not the one that dsql_iam needs',
            DETAIL = format('dsql_iam lets IAM principals log in as admin, and that role is a member of %I, itself or through another role.', privileged),
            HINT = format('Rename that role, or take the membership away, as with: REVOKE %I FROM admin', privileged);
    END IF;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO admin', current_database());
    GRANT CREATE ON SCHEMA public TO admin;
    -- From 16 on CREATEROLE alone does not let a role use the roles that it makes.
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'ALTER ROLE admin SET createrole_self_grant = ''set, inherit''';
    END IF;
END
$$;

CREATE SCHEMA sys;
GRANT USAGE ON SCHEMA sys TO PUBLIC;

CREATE FUNCTION sys.iam_grant(role text, arn text) RETURNS void
    AS 'MODULE_PATHNAME', 'iam_grant_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION sys.iam_grant(text, text) IS 'does what AWS IAM GRANT does';

CREATE FUNCTION sys.iam_revoke(role text, arn text) RETURNS void
    AS 'MODULE_PATHNAME', 'iam_revoke_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION sys.iam_revoke(text, text) IS 'does what AWS IAM REVOKE does';

CREATE FUNCTION sys.iam_session_user() RETURNS text
    AS 'MODULE_PATHNAME', 'iam_session_user_wrapper' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION sys.iam_session_user() IS 'ARN of the IAM principal that logged in to this session';

CREATE FUNCTION sys.current_session_id() RETURNS text
    AS 'MODULE_PATHNAME', 'current_session_id_wrapper' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION sys.current_session_id() IS 'id of this session in the server log';

CREATE FUNCTION sys.explain_token(role text, token text)
    RETURNS TABLE (check_name text, outcome text, reason text)
    AS 'MODULE_PATHNAME', 'explain_token_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION sys.explain_token(text, text) IS 'each check that a login with this token would have to pass';
-- It tells which access keys, policies and roles there are.
REVOKE ALL ON FUNCTION sys.explain_token(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sys.explain_token(text, text) TO admin;

-- What it looks at, the hba file for one, only a superuser may see.
CREATE FUNCTION sys.doctor()
    RETURNS TABLE (check_name text, status text, found text, remedy text)
    AS 'MODULE_PATHNAME', 'doctor_wrapper' LANGUAGE C VOLATILE PARALLEL UNSAFE
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION sys.doctor() IS 'whether this server is as it should be, and what mends it';
REVOKE ALL ON FUNCTION sys.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sys.doctor() TO admin;

-- The grantor is looked up by name first, which survives a dump, then by OID, which survives a
-- rename.
CREATE VIEW sys.iam_pg_role_mappings AS
SELECT (mapping.label ->> 'iam_oid')::oid AS iam_oid,
       mapping.arn,
       role.oid AS pg_role_oid,
       role.rolname::text AS pg_role_name,
       coalesce(by_name.oid, by_oid.oid) AS grantor_pg_role_oid,
       coalesce(by_name.rolname, by_oid.rolname)::text AS grantor_pg_role_name
  FROM (SELECT objoid, substr(provider, 10) AS arn, label::json AS label
          FROM pg_catalog.pg_shseclabel
         WHERE classoid = 'pg_catalog.pg_authid'::regclass
           AND starts_with(provider, 'dsql_iam:')) AS mapping
  JOIN pg_catalog.pg_roles AS role ON role.oid = mapping.objoid
  LEFT JOIN pg_catalog.pg_roles AS by_name ON by_name.rolname = mapping.label ->> 'grantor'
  LEFT JOIN pg_catalog.pg_roles AS by_oid ON by_oid.oid = (mapping.label ->> 'grantor_oid')::oid;
COMMENT ON VIEW sys.iam_pg_role_mappings IS 'which IAM principal may log in as which role';
GRANT SELECT ON sys.iam_pg_role_mappings TO PUBLIC;
