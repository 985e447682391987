#!/usr/bin/env bash
# Whether clients reach the server, and all is as it should be; what is not is in the health check's log.
set -euo pipefail
[ "$(id -u)" != 0 ] || exec gosu postgres "${BASH_SOURCE[0]}"
data=$PGDATA
# They are for clients, and may be of a file that several containers share.
unset "${!PG@}"
# Its port, the folder of its socket, and the first address that it listens on.
{ mapfile -t lines <"$data/postmaster.pid"; } 2>/dev/null || { echo "the server does not run"; exit 1; }
export PGPORT=${lines[3]-} PGHOST=${lines[4]-}
address=${lines[5]-}
# The server that the official image starts to set up a new cluster listens on the socket alone.
[ -n "$address" ] || { echo "the server does not listen on TCP"; exit 1; }
[ "$address" != "*" ] || address=127.0.0.1
(: <"/dev/tcp/$address/$PGPORT")
exec dsql-iam doctor "dbname=postgres user=postgres"
