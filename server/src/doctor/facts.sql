SELECT pg_catalog.json_build_object(
    'major', pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000,
    'preload', pg_catalog.current_setting('shared_preload_libraries'),
    'preload_in_file', (SELECT setting FROM pg_catalog.pg_file_settings
        WHERE name = 'shared_preload_libraries' ORDER BY seqno DESC LIMIT 1),
    'is_loaded', EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'dsql_iam.region'),
    'is_installed', EXISTS (SELECT FROM pg_catalog.pg_available_extensions
        WHERE name = 'dsql_iam'),
    'database', pg_catalog.current_database(),
    'extension', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'dsql_iam'),
    'schema_owner', (SELECT pg_catalog.pg_get_userbyid(nspowner)
        FROM pg_catalog.pg_namespace WHERE nspname = 'sys'),
    'data_directory', pg_catalog.current_setting('data_directory'),
    'hba_file', pg_catalog.current_setting('hba_file'),
    'hba_lines', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'file', pg_catalog.json_extract_path_text(pg_catalog.row_to_json(rule), 'file_name'),
            'number', line_number, 'kind', type, 'databases', database, 'roles', user_name,
            'address', address, 'method', auth_method, 'options', options, 'error', error) ORDER BY line_number),
            '[]') FROM pg_catalog.pg_hba_file_rules AS rule),
    'settings', (SELECT coalesce(pg_catalog.json_object_agg(name, setting), '{}')
        FROM pg_catalog.pg_settings WHERE name LIKE 'dsql\_iam.%' OR name = 'ssl'),
    'now', extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8,
    'checkpoint', (SELECT extract(epoch FROM checkpoint_time)::pg_catalog.float8
        FROM pg_catalog.pg_control_checkpoint()),
    'roles', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', rolname, 'is_superuser', rolsuper, 'may_replicate', rolreplication,
            'has_password', rolpassword IS NOT NULL) ORDER BY rolname), '[]')
        FROM pg_catalog.pg_authid WHERE rolcanlogin),
    'unknown_exempt_roles', (SELECT coalesce(pg_catalog.json_agg(exempt), '[]')
        FROM pg_catalog.unnest(pg_catalog.string_to_array(
            pg_catalog.current_setting('dsql_iam.exempt_roles', true), ',')) AS item,
            pg_catalog.btrim(item, E' \t\n\r') AS exempt
        WHERE exempt <> '' AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid WHERE rolname = exempt)),
    'admin', (SELECT pg_catalog.json_build_object(
            'can_log_in', rolcanlogin, 'is_superuser', rolsuper, 'makes_roles', rolcreaterole,
            'members', (SELECT coalesce(pg_catalog.json_agg(DISTINCT
                    pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(member))), '[]')
                FROM pg_catalog.pg_auth_members WHERE roleid = role.oid),
            'has_password', EXISTS (SELECT FROM pg_catalog.pg_authid
                WHERE rolname = 'admin' AND rolpassword IS NOT NULL),
            'settings', (SELECT coalesce(pg_catalog.json_agg(DISTINCT pg_catalog.split_part(item, '=', 1)), '[]')
                FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS item
                WHERE setrole = role.oid AND item NOT LIKE 'createrole_self_grant=%'),
            'connections', rolconnlimit, 'may_connect',
            pg_catalog.has_database_privilege(role.oid, 'postgres', 'CONNECT'), 'uses_its_roles',
            pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 160000
            OR coalesce((SELECT item LIKE '%set%' AND item LIKE '%inherit%'
                FROM (SELECT pg_catalog.split_part(item, '=', 2) AS item, setrole, setdatabase
                      FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS item
                      WHERE setrole IN (role.oid, 0::pg_catalog.oid) AND item LIKE 'createrole_self_grant=%'
                      UNION ALL
                      SELECT setting, 0::pg_catalog.oid, NULL::pg_catalog.oid FROM pg_catalog.pg_file_settings
                      WHERE name = 'createrole_self_grant' AND applied) AS found
                WHERE setdatabase IS NULL OR setdatabase IN (0::pg_catalog.oid, (SELECT oid
                    FROM pg_catalog.pg_database WHERE datname = 'postgres'))
                ORDER BY setdatabase IS NULL, setrole = 0::pg_catalog.oid,
                    setdatabase = 0::pg_catalog.oid LIMIT 1), false))
        FROM pg_catalog.pg_roles AS role WHERE rolname = 'admin'))::pg_catalog.text
