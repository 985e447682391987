-- An admin that others have prepared before CREATE EXTENSION is left alone, whatever they have prepared. The
-- superuser who makes it here is warned, for the library is loaded; it was not where somebody else did so.
\set SHOW_CONTEXT never
SET client_min_messages = error;
CREATE ROLE prepared_by CREATEROLE;
ALTER ROLE admin RENAME TO admin_of_dsql_iam;
CREATE ROLE admin LOGIN CREATEROLE;
-- a member
GRANT admin TO prepared_by;
CREATE EXTENSION dsql_iam;
REVOKE admin FROM prepared_by;
-- a password
ALTER ROLE admin PASSWORD 'mine';
CREATE EXTENSION dsql_iam;
ALTER ROLE admin PASSWORD NULL;
-- settings
ALTER ROLE admin SET search_path = evil, pg_catalog, public;
ALTER ROLE admin IN DATABASE in_server_prepared SET work_mem = '64kB';
CREATE EXTENSION dsql_iam;
ALTER ROLE admin RESET ALL;
ALTER ROLE admin IN DATABASE in_server_prepared RESET ALL;
-- functions, which others would call as admin, and default privileges
CREATE FUNCTION public.prepared(i int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT i';
ALTER FUNCTION public.prepared OWNER TO admin;
CREATE EXTENSION dsql_iam;
DROP FUNCTION public.prepared;
ALTER DEFAULT PRIVILEGES FOR ROLE admin GRANT ALL ON TABLES TO prepared_by;
CREATE EXTENSION dsql_iam;
ALTER DEFAULT PRIVILEGES FOR ROLE admin REVOKE ALL ON TABLES FROM prepared_by;
-- without these it is what would be made; a schema of its own is what a dump has before the extension
CREATE SCHEMA of_admin AUTHORIZATION admin;
CREATE EXTENSION dsql_iam;
DROP EXTENSION dsql_iam;
CREATE EXTENSION dsql_iam;
DROP EXTENSION dsql_iam;
DROP OWNED BY admin;
DROP ROLE admin, prepared_by;
ALTER ROLE admin_of_dsql_iam RENAME TO admin;
