-- AWS IAM GRANT and REVOKE inside a backend. Who may log in is tested from outside, in tests/.
SET client_min_messages = warning;
CREATE EXTENSION dsql_iam;
CREATE ROLE in_server LOGIN;
CREATE ROLE in_server_group NOLOGIN;
\set SHOW_CONTEXT never

-- one role, one ARN
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:user/path/b';
SELECT arn, pg_role_name, pg_role_oid = 'in_server'::regrole AS is_role, grantor_pg_role_name
  FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'in_server' ORDER BY arn;
SELECT column_name, data_type FROM information_schema.columns
 WHERE table_schema = 'sys' AND table_name = 'iam_pg_role_mappings' ORDER BY ordinal_position;

-- what is refused
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/a';
AWS IAM REVOKE in_server FROM 'arn:aws:iam::012345678912:role/none';
AWS IAM GRANT nobody_at_all TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server_group TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT admin TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT pg_monitor TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:root';
AWS IAM GRANT in_server TO '';
SET ROLE in_server;
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/c';
AWS IAM REVOKE in_server FROM 'arn:aws:iam::012345678912:role/a';
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/c" ON ROLE in_server IS '{}';
RESET ROLE;
BEGIN READ ONLY;
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/c';
ROLLBACK;
BEGIN READ ONLY;
DROP ROLE in_server;
ROLLBACK;

-- malformed statements, at their places
AWS IAM GRANT;
AWS IAM GRANT 'in_server' TO 'arn';
AWS IAM GRANT $tag$in_server$tag$ TO 'arn';
AWS IAM GRANT in_server, in_server TO 'arn';
AWS IAM GRANT in_server FROM 'arn';
AWS IAM REVOKE in_server TO 'arn';
AWS IAM GRANT in_server 'arn';
AWS IAM GRANT in_server TO;
AWS IAM GRANT in_server TO in_server;
AWS IAM GRANT in_server TO $1;
AWS IAM GRANT in_server TO 'a' 'b';
AWS IAM GRANT in_server TO 'a' LANGUAGE plpgsql;
AWS IAM GRANT in_server TO 'a' WITH ADMIN OPTION;
AWS IAM GRANT select TO 'a';
AWS IAM GRANT "é" TO 'arn' "é" x;
SELECT 'é'; AWS IAM GRANT "é" TO 'arn'; SELECT 'é' FROM FROM;
AWS.IAM GRANT in_server TO 'arn';

-- every notation of the server's own lexer
AWS IAM REVOKE in_server FROM 'arn:aws:iam::012345678912:role/a';
aws -- a comment
  iam /* another /* nested */ */ grant "in_server"/**/to E'arn:aws:iam::012345678912:role\x2fa';
AWS IAM REVOKE U&"in\005fserver" FROM $arn$arn:aws:iam::012345678912:role/a$arn$;
AWS IAM GRANT IN_SERVER TO 'arn:aws:iam::012345678912:'
    'role/a';
AWS IAM REVOKE in_server FROM E'arn:aws:iam::012345678912:role\x2fa';

-- in functions, blocks and transactions
CREATE FUNCTION grant_it(arn text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/static';
    EXECUTE format('AWS IAM GRANT %I TO %L', 'in_server', arn);
END $$;
SELECT grant_it('arn:aws:iam::012345678912:role/executed');
BEGIN;
AWS IAM GRANT in_server TO 'arn:aws:iam::012345678912:role/rolled-back';
SELECT count(*) FROM sys.iam_pg_role_mappings WHERE arn LIKE '%rolled-back';
ROLLBACK;
DO $$ BEGIN PERFORM sys.iam_grant('in_server', 'arn:aws:iam::012345678912:role/function'); END $$;
SELECT sys.iam_revoke('in_server', 'arn:aws:iam::012345678912:role/static');
SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'in_server' ORDER BY arn;

-- the words stay usable
CREATE TABLE aws (aws int, iam int);
-- (from two tables: with one only, PostgreSQL 18 leaves its name out)
CREATE VIEW iam AS SELECT aws.aws AS iam, iam.iam AS aws FROM aws, aws AS iam;
SELECT pg_get_viewdef('iam'), quote_ident('aws'), quote_ident('iam'), format('%I', 'AWS');
SELECT 1 AS aws, 'AWS IAM GRANT a TO b' AS iam /* AWS IAM GRANT a TO 'b' */; -- AWS IAM GRANT

-- roles that are mapped
DROP ROLE in_server;
ALTER ROLE in_server RENAME TO in_server_renamed;
SELECT DISTINCT pg_role_name FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'in_server%';

-- what a dump writes
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/d" ON ROLE in_server_renamed IS 'x';
SECURITY LABEL FOR "dsql_iam:nonsense" ON ROLE in_server_renamed IS NULL;
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/d" ON TABLE aws IS NULL;
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/d" ON ROLE in_server_renamed
    IS '{"iam_oid": 4711, "grantor": "admin", "grantor_oid": 1}';
SELECT iam_oid, grantor_pg_role_name FROM sys.iam_pg_role_mappings WHERE arn LIKE '%role/d';
SECURITY LABEL FOR "another" ON ROLE in_server_renamed IS 'x';

-- sessions without a token
SELECT sys.iam_session_user() IS NULL AS no_principal, sys.current_session_id() IS NULL AS no_session;

SELECT sys.iam_revoke('in_server_renamed', arn) FROM sys.iam_pg_role_mappings
 WHERE pg_role_name = 'in_server_renamed';
DROP ROLE in_server_renamed, in_server_group;

-- admin does not come by more than it has
SET client_min_messages = error;
CREATE ROLE in_server_member;
SET ROLE admin;
GRANT pg_execute_server_program TO admin;
GRANT pg_read_all_data, pg_read_server_files TO in_server_member;
CREATE ROLE in_server_other IN ROLE pg_write_server_files;
ALTER GROUP pg_execute_server_program ADD USER admin;
RESET ROLE;
GRANT pg_monitor TO in_server_member;
-- nor by way of a role that has it, at one remove or at two
CREATE ROLE in_server_monitor LOGIN IN ROLE in_server_member;
CREATE ROLE in_server_over SUPERUSER;
CREATE ROLE in_server_under IN ROLE in_server_over;
CREATE ROLE in_server_below LOGIN IN ROLE in_server_under;
CREATE ROLE in_server_new;
SET ROLE admin;
GRANT in_server_member TO admin;
GRANT in_server_monitor TO admin;
GRANT in_server_new, in_server_monitor TO in_server_new;
GRANT in_server_below TO admin;
CREATE ROLE in_server_other IN ROLE in_server_below;
CREATE ROLE in_server_other IN GROUP in_server_new, in_server_monitor;
ALTER GROUP in_server_monitor ADD USER admin;
ALTER ROLE in_server_monitor PASSWORD 'second door';
ALTER ROLE in_server_below LOGIN PASSWORD 'second door';
ALTER ROLE in_server_monitor SET search_path = mine;
ALTER ROLE in_server_below IN DATABASE postgres SET search_path = mine;
ALTER ROLE in_server_monitor RENAME TO in_server_harmless;
ALTER ROLE in_server_below RENAME TO in_server_harmless;
AWS IAM GRANT in_server_monitor TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server_below TO 'arn:aws:iam::012345678912:role/a';
SELECT sys.iam_grant('in_server_monitor', 'arn:aws:iam::012345678912:role/a');
RESET ROLE;
-- which may change what is its own
SET SESSION AUTHORIZATION in_server_monitor;
ALTER ROLE in_server_monitor SET search_path = mine;
ALTER ROLE CURRENT_USER RESET search_path;
RESET SESSION AUTHORIZATION;
-- a superuser may give a role that can log in a predefined one, a superuser it can give to nobody
AWS IAM GRANT in_server_monitor TO 'arn:aws:iam::012345678912:role/a';
AWS IAM REVOKE in_server_monitor FROM 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server_below TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server_over TO 'arn:aws:iam::012345678912:role/a';
SECURITY LABEL FOR "dsql_iam:arn:aws:iam::012345678912:role/a" ON ROLE in_server_below
    IS '{"iam_oid": 4711, "grantor": "admin", "grantor_oid": 1}';
SELECT count(*) FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'in_server%';
-- what somebody is no longer a member of does not count
REVOKE in_server_over FROM in_server_under;
AWS IAM GRANT in_server_below TO 'arn:aws:iam::012345678912:role/a';
AWS IAM REVOKE in_server_below FROM 'arn:aws:iam::012345678912:role/a';
-- attributes that only a superuser gives are a superuser's to map
CREATE ROLE in_server_replicates LOGIN REPLICATION;
CREATE ROLE in_server_bypasses LOGIN BYPASSRLS;
SET ROLE admin;
AWS IAM GRANT in_server_replicates TO 'arn:aws:iam::012345678912:role/a';
SELECT sys.iam_grant('in_server_bypasses', 'arn:aws:iam::012345678912:role/a');
RESET ROLE;
AWS IAM GRANT in_server_replicates TO 'arn:aws:iam::012345678912:role/a';
AWS IAM GRANT in_server_bypasses TO 'arn:aws:iam::012345678912:role/a';
AWS IAM REVOKE in_server_replicates FROM 'arn:aws:iam::012345678912:role/a';
AWS IAM REVOKE in_server_bypasses FROM 'arn:aws:iam::012345678912:role/a';
DROP ROLE in_server_replicates, in_server_bypasses;
DROP ROLE in_server_member, in_server_monitor, in_server_over, in_server_under, in_server_below,
    in_server_new;
