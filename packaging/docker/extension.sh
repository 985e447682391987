#!/usr/bin/env bash
# Creates the extension in the database postgres, or brings it to the version of this image's files. The official
# image runs it when it has made a new cluster. With the number of the process that is to become the server, as
# at each start, it waits until that server accepts connections.
set -euo pipefail
data=$PGDATA
# They are for clients, and may be of a file that several containers share.
unset "${!PG@}"
export PGUSER=postgres PGDATABASE=postgres

# The server of the data directory, by the words and settings that it was started with; fails if there is none.
find_server() {
    local lines
    { mapfile -t lines <"$data/postmaster.pid"; } 2>/dev/null || return
    server=${lines[0]-}
    export PGPORT=${lines[3]-} PGHOST=${lines[4]-}
}

if [ $# = 0 ]; then
    find_server || { echo "no server runs in $data" >&2; exit 1; }
else
    # Not the server that the official image starts for the scripts, which may create the extension themselves.
    until find_server && [ "$server" = "$1" ] && pg_isready --quiet; do
        [ -e "/proc/$1" ] || exit 0
        sleep 0.1
    done
fi

# A standby has what its primary has. A schema that somebody named like the superuser is not searched.
psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 <<'SQL'
SET client_min_messages = warning;
SET search_path = public, pg_temp;
SELECT pg_catalog.pg_is_in_recovery() AS is_standby \gset
\if :is_standby
    \quit
\endif
CREATE EXTENSION IF NOT EXISTS dsql_iam;
ALTER EXTENSION dsql_iam UPDATE;
SQL
