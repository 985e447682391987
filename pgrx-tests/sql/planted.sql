-- What others have put into public is not called as the superuser who creates the extension, nor as
-- whoever reads its view.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE ROLE planted_by;
GRANT CREATE ON SCHEMA public TO planted_by;
SET SESSION AUTHORIZATION planted_by;
-- a better match for format('…', current_database()) than the server's own
CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE sql
    AS $$ SELECT 'ALTER ROLE planted_by SUPERUSER'::text $$;
-- and for a comparison of oid and regclass, json and an untyped constant
CREATE FUNCTION public.planted(oid, regclass) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.planted);
CREATE FUNCTION public.planted(json, text) RETURNS text LANGUAGE sql AS $$ SELECT '1'::text $$;
CREATE OPERATOR public.->> (LEFTARG = json, RIGHTARG = text, FUNCTION = public.planted);
RESET SESSION AUTHORIZATION;
-- the search path of a database can put public first, too
SET search_path = public, pg_catalog;
CREATE EXTENSION dsql_iam;
SELECT rolname, rolsuper FROM pg_roles WHERE rolname IN ('admin', 'planted_by') ORDER BY rolname;
-- the path is the session's again
SHOW search_path;
-- what is in the path is shown without its schema
SET search_path = pg_catalog;
SELECT pg_get_viewdef('sys.iam_pg_role_mappings'::regclass) LIKE '%public.%' AS view_calls_public;
SELECT has_database_privilege('admin', current_database(), 'CREATE') AS admin_may_create;
DROP EXTENSION dsql_iam;
DROP OWNED BY planted_by;
DROP ROLE planted_by;
