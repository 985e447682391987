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
    faults text;
    remedies text;
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
    -- Before the library is loaded, or while there is no such role, whoever has CREATEROLE may have made it, for
    -- himself: he would be its member, know its password, or have admin run what he has written.
    SELECT string_agg(fault, '; ' ORDER BY fault), string_agg(DISTINCT remedy, '; ' ORDER BY remedy)
      INTO faults, remedies
      FROM (
        SELECT format('%s is a member of it', member::regrole),
               format('REVOKE admin FROM %s', member::regrole)
          FROM pg_catalog.pg_auth_members WHERE roleid = 'admin'::regrole
        UNION ALL
        SELECT 'it has a password', 'ALTER ROLE admin PASSWORD NULL'
          FROM pg_catalog.pg_authid WHERE rolname = 'admin' AND rolpassword IS NOT NULL
        UNION ALL
        SELECT format('it has the setting %s', split_part(setting, '=', 1)),
               format('ALTER ROLE admin %sRESET %s',
                      'IN DATABASE ' || quote_ident(datname) || ' ', split_part(setting, '=', 1))
          FROM pg_catalog.pg_db_role_setting
          CROSS JOIN unnest(setconfig) AS setting
          LEFT JOIN pg_catalog.pg_database ON pg_database.oid = setdatabase
         WHERE setrole = 'admin'::regrole
           AND NOT (setdatabase = 0 AND setting = 'createrole_self_grant=set, inherit')
        UNION ALL
        SELECT format('it owns the function %s', pg_proc.oid::regprocedure),
               'DROP OWNED BY admin, or REASSIGN OWNED BY admin TO another role'
          FROM pg_catalog.pg_proc WHERE proowner = 'admin'::regrole
        UNION ALL
        SELECT 'it has default privileges', 'DROP OWNED BY admin'
          FROM pg_catalog.pg_default_acl WHERE defaclrole = 'admin'::regrole
      ) AS found (fault, remedy);
    IF faults IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = 'role "admin" exists already and is not the one that dsql_iam needs',
            DETAIL = format('dsql_iam lets IAM principals log in as admin, and others have prepared that role: %s.', faults),
            HINT = format('Rename that role, or make it what it would be here: %s', remedies);
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

CREATE FUNCTION sys.iam_access(arns text[], roles text[])
    RETURNS TABLE (principal text, principal_type text, role_name text, access text, check_name text,
                   reason text, statements text[])
    AS 'MODULE_PATHNAME', 'iam_access_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION sys.iam_access(text[], text[]) IS 'what sys.iam_access shows';
-- The documents are for whoever may read the server's files.
REVOKE ALL ON FUNCTION sys.iam_access(text[], text[]) FROM PUBLIC;

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

CREATE VIEW sys.iam_access AS
SELECT access.*
  FROM (SELECT coalesce(array_agg(arn), '{}') AS arns, coalesce(array_agg(pg_role_name), '{}') AS roles
          FROM sys.iam_pg_role_mappings) AS mappings,
       LATERAL sys.iam_access(mappings.arns, mappings.roles) AS access;
COMMENT ON VIEW sys.iam_access IS 'who may connect as whom, and what decides';
REVOKE ALL ON sys.iam_access FROM PUBLIC;

-- The jobs of CREATE INDEX ASYNC. Rows are written by the library alone, and by superusers, who may all. It is
-- not dumped: what the jobs are about has other OIDs in another server.
CREATE TABLE sys.recorded_jobs (
    job_id text NOT NULL,
    status text NOT NULL,
    details text,
    job_type text NOT NULL,
    class_id oid NOT NULL,
    object_id oid,
    object_name text,
    start_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
) USING heap;
REVOKE ALL ON sys.recorded_jobs FROM PUBLIC;

-- As Aurora DSQL, which forgets jobs that ended more than 30 minutes ago when the next one begins.
CREATE VIEW sys.jobs AS
SELECT job_id, status, details, job_type, class_id, object_id, object_name, start_time, update_time
  FROM sys.recorded_jobs
 WHERE update_time >= (SELECT max(start_time) FROM sys.recorded_jobs) - interval '30 minutes';
COMMENT ON VIEW sys.jobs IS 'what CREATE INDEX ASYNC has begun, and what has come of it';
GRANT SELECT ON sys.jobs TO PUBLIC;

CREATE FUNCTION sys.wait_for_job(job_id text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'wait_for_job_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION sys.wait_for_job(text) IS 'whether a job of sys.jobs has come to a good end';

-- CALL sys.wait_for_job calls this: PostgreSQL has no function and procedure of one name and signature.
CREATE PROCEDURE sys.await_job(job_id text, INOUT succeeded boolean DEFAULT NULL)
    LANGUAGE sql AS 'SELECT sys.wait_for_job(job_id)';
COMMENT ON PROCEDURE sys.await_job(text, boolean) IS 'what CALL sys.wait_for_job(job_id) calls';

-- Its output argument is the column that CREATE INDEX ASYNC announces. Nobody calls it.
CREATE PROCEDURE sys.create_index_async(INOUT job_id text)
    LANGUAGE sql AS 'SELECT NULL::pg_catalog.text';
COMMENT ON PROCEDURE sys.create_index_async(text) IS 'the form of what CREATE INDEX ASYNC gives back';
REVOKE ALL ON PROCEDURE sys.create_index_async(text) FROM PUBLIC;

CREATE FUNCTION sys.iam_counts()
    RETURNS TABLE (event text, check_name text, count bigint, seconds double precision, stats_reset timestamptz)
    AS 'MODULE_PATHNAME', 'iam_counts_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION sys.iam_counts() IS 'what sys.iam_counts shows';
CREATE VIEW sys.iam_counts AS SELECT * FROM sys.iam_counts();
COMMENT ON VIEW sys.iam_counts IS 'what has come of logins, and of loading the documents, since stats_reset';
-- Which checks fail, and how often, concerns whoever watches the server.
REVOKE ALL ON FUNCTION sys.iam_counts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sys.iam_counts() TO pg_monitor;
GRANT SELECT ON sys.iam_counts TO pg_monitor;
