-- sys.doctor(): who may ask, and what it looks at. What it finds is tested from outside, on servers
-- that are spoiled for it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION dsql_iam;
CREATE ROLE doctor_nobody;
SELECT check_name FROM sys.doctor();
-- tokens lead into the database postgres only
SELECT status, remedy FROM sys.doctor() WHERE check_name = 'extension';
-- what is fine needs no remedy, and what is not has one
SELECT count(*) FROM sys.doctor() WHERE (status = 'ok') <> (remedy IS NULL);
-- admin may, though it may not see the hba file itself
SET SESSION AUTHORIZATION admin;
SELECT status, found FROM sys.doctor() WHERE check_name = 'syntax';
SELECT count(*) FROM pg_hba_file_rules;
-- nobody else
SET SESSION AUTHORIZATION doctor_nobody;
SELECT * FROM sys.doctor();
RESET SESSION AUTHORIZATION;
-- objects of the caller's are not taken for the server's
CREATE TEMPORARY VIEW pg_roles AS SELECT 'intruder' AS rolname, true AS rolsuper, true AS rolcanlogin;
CREATE SCHEMA doctor_other;
CREATE FUNCTION doctor_other.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT 'intruder'$$;
SET search_path = doctor_other, pg_catalog;
SELECT count(*) FROM sys.doctor() WHERE found LIKE '%intruder%';
RESET search_path;
DROP SCHEMA doctor_other CASCADE;
DROP VIEW pg_temp.pg_roles;
DROP ROLE doctor_nobody;
DROP EXTENSION dsql_iam;
