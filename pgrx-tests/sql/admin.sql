-- What may be done to admin, and by whom. Each refusal is the ERROR of a statement by itself.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION dsql_iam;
CREATE ROLE guard_maker CREATEROLE LOGIN;
CREATE ROLE guard_other;
CREATE SCHEMA guard_theirs AUTHORIZATION guard_maker;
GRANT CREATE ON DATABASE in_server_admin TO guard_maker;

-- whoever has CREATEROLE may not
SET SESSION AUTHORIZATION guard_maker;
ALTER ROLE admin CREATEDB;
ALTER ROLE admin NOLOGIN;
ALTER ROLE admin PASSWORD 'second door';
ALTER ROLE admin VALID UNTIL '2000-01-01';
ALTER ROLE admin CONNECTION LIMIT 0;
ALTER USER admin WITH NOCREATEROLE;
ALTER ROLE admin SET search_path = guard_theirs;
ALTER ROLE admin IN DATABASE postgres SET role = guard_other;
ALTER ROLE admin RESET ALL;
ALTER ROLE admin RENAME TO root;
DROP ROLE admin;
DROP ROLE IF EXISTS guard_nobody, admin;
GRANT admin TO guard_maker;
GRANT guard_other, admin TO guard_maker WITH ADMIN OPTION;
REVOKE admin FROM guard_maker;
GRANT guard_other TO admin;
REVOKE guard_other FROM admin;
ALTER GROUP admin ADD USER guard_maker;
ALTER GROUP admin DROP USER guard_maker;
ALTER GROUP guard_other ADD USER admin;
CREATE ROLE guard_new IN ROLE admin;
CREATE USER guard_new IN GROUP admin;
CREATE ROLE guard_new ROLE admin;
CREATE ROLE guard_new ADMIN admin;
GRANT USAGE ON SCHEMA guard_theirs TO admin;
REVOKE ALL ON SCHEMA guard_theirs FROM admin;
ALTER DEFAULT PRIVILEGES FOR ROLE admin GRANT SELECT ON TABLES TO guard_maker;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO admin;
REASSIGN OWNED BY admin TO guard_maker;
REASSIGN OWNED BY guard_maker TO admin;
DROP OWNED BY admin;
DROP OWNED BY guard_maker, admin CASCADE;
COMMENT ON ROLE admin IS 'mine';
SECURITY LABEL ON ROLE admin IS 'mine';
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/x" ON ROLE admin IS '{"iam_oid":1,"grantor_oid":1,"grantor":"admin"}';
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/x" ON ROLE guard_maker IS '{"iam_oid":1,"grantor_oid":1,"grantor":"admin"}';
SET ROLE admin;
SET LOCAL ROLE 'admin';
INSERT INTO pg_shseclabel VALUES (0, 'pg_authid'::regclass, 'dsql_iam:arn:aws:iam::012345678912:role/x', '{}');
UPDATE pg_authid SET rolsuper = true;
CREATE EVENT TRIGGER guard_trigger ON ddl_command_end EXECUTE FUNCTION guard_theirs.f();
-- nor behind something else
DO $$ BEGIN ALTER ROLE admin CREATEDB; END $$;
DO $$ BEGIN EXECUTE 'GRANT admin TO guard_maker'; END $$;
CREATE FUNCTION guard_theirs.f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN ALTER ROLE admin CREATEDB; END';
SELECT guard_theirs.f();
CREATE FUNCTION guard_theirs.g() RETURNS void LANGUAGE sql SET role = admin AS 'SELECT';
CREATE SCHEMA guard_schema CREATE TABLE t () GRANT SELECT ON t TO admin;

-- admin itself may change nothing of its own
SET SESSION AUTHORIZATION admin;
ALTER ROLE admin CREATEDB;
ALTER ROLE CURRENT_USER CREATEDB;
ALTER ROLE SESSION_USER SET work_mem = '1GB';
ALTER ROLE admin SET role = guard_other;
ALTER ROLE admin RESET ALL;
ALTER USER CURRENT_ROLE PASSWORD 'second door';
ALTER ROLE admin RENAME TO root;
DROP ROLE CURRENT_USER;
GRANT admin TO guard_maker;
CREATE ROLE guard_new IN ROLE admin;
GRANT CREATE ON SCHEMA public TO admin;
DROP OWNED BY CURRENT_USER;
COMMENT ON ROLE admin IS 'mine';

-- but for the search_path: AWS's samples do so
ALTER USER "admin" SET SEARCH_PATH = "public";
ALTER ROLE CURRENT_USER IN DATABASE in_server_admin SET search_path = public, pg_catalog;
SELECT setting FROM pg_db_role_setting, unnest(setconfig) AS setting
    WHERE setrole = 'admin'::regrole AND setting LIKE 'search_path=%' ORDER BY setdatabase;
ALTER ROLE admin RESET search_path;
ALTER ROLE admin IN DATABASE in_server_admin SET search_path TO DEFAULT;
-- and do its work
CREATE ROLE guard_custom WITH LOGIN;
AWS IAM GRANT guard_custom TO 'arn:aws:iam::012345678912:role/guard';
CREATE TABLE public.guard_table (i int);
GRANT SELECT ON public.guard_table TO guard_custom;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO guard_custom;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM guard_custom;
GRANT guard_custom TO admin;
SET ROLE guard_custom;
SET ROLE admin;
RESET ROLE;
CREATE ROLE guard_second ROLE admin;
CREATE SCHEMA guard_second AUTHORIZATION guard_second;
REASSIGN OWNED BY guard_second TO admin;
DROP SCHEMA guard_second;
DROP ROLE guard_second;
ALTER ROLE guard_custom CONNECTION LIMIT 5;
REVOKE SELECT ON public.guard_table FROM guard_custom;
DROP TABLE public.guard_table;
AWS IAM REVOKE guard_custom FROM 'arn:aws:iam::012345678912:role/guard';

-- a member that a superuser has made, who is warned, is not admin either
RESET SESSION AUTHORIZATION;
GRANT admin TO guard_other;
SET SESSION AUTHORIZATION guard_other;
SET ROLE admin;
SET LOCAL ROLE admin;
SET "Role" TO 'admin';
SELECT set_config('role', 'admin', false);
SELECT set_config('ROLE', 'admin', true);
ALTER ROLE guard_other SET role = admin;
ALTER ROLE CURRENT_USER IN DATABASE in_server_admin SET role TO 'admin';
ALTER ROLE guard_other SET role FROM CURRENT;
CREATE FUNCTION public.as_admin() RETURNS name LANGUAGE sql SET role = 'admin'
    AS 'SELECT current_user';
CREATE FUNCTION public.as_admin() RETURNS name LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', 'admin', true);
    RETURN current_user;
END $$;
SELECT public.as_admin();
ALTER FUNCTION public.as_admin() SET role = admin;
ALTER FUNCTION public.as_admin() SECURITY DEFINER;
SELECT public.as_admin();
-- not even by a function that has admin's own setting, or admin for an owner
RESET SESSION AUTHORIZATION;
ALTER FUNCTION public.as_admin() SECURITY INVOKER SET role = admin;
SET SESSION AUTHORIZATION guard_other;
SELECT public.as_admin();
RESET SESSION AUTHORIZATION;
DROP FUNCTION public.as_admin();
SET SESSION AUTHORIZATION guard_other;
SELECT current_user;
AWS IAM GRANT guard_custom TO 'arn:aws:iam::012345678912:role/guard';
ALTER ROLE admin CREATEDB;
ALTER DEFAULT PRIVILEGES FOR ROLE admin GRANT SELECT ON TABLES TO guard_other;
-- nor is who calls a function of admin's
SET SESSION AUTHORIZATION admin;
CREATE FUNCTION public.guard_definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN AWS IAM GRANT guard_custom TO 'arn:aws:iam::012345678912:role/guard'; END $$;
SET SESSION AUTHORIZATION guard_maker;
SELECT public.guard_definer();
RESET SESSION AUTHORIZATION;
DROP FUNCTION public.guard_definer();
SET SESSION AUTHORIZATION admin;
CREATE FUNCTION public.guard_definer(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN EXECUTE statement; END';
SET SESSION AUTHORIZATION guard_maker;
SELECT public.guard_definer('GRANT guard_custom TO admin');
SELECT public.guard_definer('ALTER GROUP guard_custom ADD USER admin');
SELECT public.guard_definer('CREATE ROLE guard_new ROLE admin');
SELECT public.guard_definer('REASSIGN OWNED BY guard_custom TO admin');
SELECT public.guard_definer('ALTER DEFAULT PRIVILEGES FOR ROLE admin GRANT SELECT ON TABLES TO guard_maker');
SELECT public.guard_definer('ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO admin');
SELECT public.guard_definer('ALTER ROLE admin CREATEDB');
SELECT public.guard_definer('ALTER ROLE admin SET search_path = guard_theirs');
SELECT public.guard_definer('SET ROLE admin');
SELECT public.guard_definer('CREATE ROLE guard_new');
SELECT public.guard_definer('ALTER ROLE guard_custom PASSWORD NULL');
SELECT public.guard_definer('ALTER ROLE guard_custom SET work_mem = 64');
SELECT public.guard_definer('ALTER ROLE guard_custom RENAME TO guard_new');
SELECT public.guard_definer('DROP ROLE guard_custom');
SELECT public.guard_definer('GRANT guard_custom TO guard_maker');
SELECT public.guard_definer('COMMENT ON ROLE guard_custom IS ''mine''');
-- nor a superuser who has not said so
RESET SESSION AUTHORIZATION;
SELECT public.guard_definer('CREATE ROLE guard_new');
SELECT public.guard_definer('AWS IAM GRANT guard_custom TO ''arn:aws:iam::012345678912:role/guard''');
SET ROLE admin;
SELECT public.guard_definer('CREATE ROLE guard_new');
CREATE ROLE guard_new;
DROP ROLE guard_new;
RESET ROLE;
-- nor who has put a function into an index of a table that has become admin's
SET SESSION AUTHORIZATION guard_maker;
CREATE TABLE guard_theirs.t (i int);
CREATE FUNCTION guard_theirs.h(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_user = 'admin' THEN
        PERFORM sys.iam_grant('guard_custom', 'arn:aws:iam::012345678912:role/guard');
    END IF;
    RETURN i;
END $$;
CREATE INDEX ON guard_theirs.t (guard_theirs.h(i));
INSERT INTO guard_theirs.t VALUES (1);
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA guard_theirs TO admin;
ALTER TABLE guard_theirs.t OWNER TO admin;
ANALYZE guard_theirs.t;
REINDEX TABLE guard_theirs.t;
SET SESSION AUTHORIZATION admin;
ANALYZE guard_theirs.t;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'guard%';
-- admin itself may call such a function, since it is connected
SET SESSION AUTHORIZATION admin;
SELECT public.guard_definer('CREATE ROLE guard_new ROLE admin');
DROP ROLE guard_new;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'guard%';

-- a superuser may, and is told
ALTER ROLE admin CREATEDB;
ALTER ROLE admin NOCREATEDB;
ALTER ROLE admin SET work_mem = '1MB';
ALTER ROLE admin RESET work_mem;
REVOKE admin FROM guard_other;
GRANT SELECT ON pg_class TO admin;
REVOKE SELECT ON pg_class FROM admin;
COMMENT ON ROLE admin IS NULL;
SET ROLE admin;
RESET ROLE;

DROP FUNCTION public.guard_definer(text);
DROP SCHEMA guard_theirs CASCADE;
DROP ROLE guard_custom;
DROP ROLE guard_other;
DROP OWNED BY guard_maker;
DROP ROLE guard_maker;
DROP EXTENSION dsql_iam;

-- an admin that is another's role is left alone
ALTER ROLE admin RENAME TO admin_of_dsql_iam;
CREATE ROLE admin SUPERUSER LOGIN CREATEROLE;
CREATE EXTENSION dsql_iam;
-- nor one that cannot be logged in to, or that may more than it seems
ALTER ROLE admin NOSUPERUSER NOINHERIT;
CREATE EXTENSION dsql_iam;
ALTER ROLE admin INHERIT CONNECTION LIMIT 0;
CREATE EXTENSION dsql_iam;
ALTER ROLE admin CONNECTION LIMIT -1 VALID UNTIL '2000-01-01';
CREATE EXTENSION dsql_iam;
ALTER ROLE admin VALID UNTIL 'infinity';
CREATE ROLE guard_between;
GRANT pg_monitor TO guard_between;
GRANT guard_between TO admin;
CREATE EXTENSION dsql_iam;
REVOKE pg_monitor FROM guard_between;
ALTER ROLE guard_between SUPERUSER;
CREATE EXTENSION dsql_iam;
-- without these it is what would be made
ALTER ROLE guard_between NOSUPERUSER;
CREATE EXTENSION dsql_iam;
DROP EXTENSION dsql_iam;
DROP ROLE guard_between;
DROP OWNED BY admin;
DROP ROLE admin;
ALTER ROLE admin_of_dsql_iam RENAME TO admin;
