#!/usr/bin/env bash
# Behaves as the official image's entry point of this name, as its documentation has it: root makes the
# folders and becomes the user postgres; any other user is given a name for initdb alone; a new cluster needs a
# password, is started on the socket only, and has the scripts run; the words are kept.
set -Eeo pipefail
[ "${1:0:1}" != - ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB POSTGRES_INITDB_ARGS; do
    file=${name}_FILE
    if [ -n "${!file:-}" ]; then
        [ -z "${!name:-}" ] || { echo "error: both $name and $file are set (but are exclusive)" >&2; exit 1; }
        value=$(<"${!file}")
        export "$name=$value"
        unset "$file"
    fi
done
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    chmod 3775 /var/run/postgresql || :
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres '{}' +
    exec gosu postgres "$0" "$@"
fi
mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || :
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
    # Version 18 has another folder, and another volume, than those before.
    if [ "$PGDATA" = "/var/lib/postgresql/$PG_MAJOR/docker" ]; then
        for old in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
            [ ! -s "$old/PG_VERSION" ] || { echo "Error: in 18+, there is PostgreSQL data in $old" >&2; exit 1; }
        done
        if [ "$PG_MAJOR" -ge 18 ] && mountpoint --quiet /var/lib/postgresql/data; then
            echo "Error: in 18+, /var/lib/postgresql/data is an unused mount" >&2; exit 1
        fi
    fi
    [ -n "$POSTGRES_PASSWORD" ] || { echo "Error: superuser password is not specified." >&2; exit 1; }
    if ! getent passwd "$(id -u)" >/dev/null; then
        NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
        LD_PRELOAD=$(ls /usr/lib/*/libnss_wrapper.so)
        export LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
        printf 'postgres:x:%s:%s:PostgreSQL:%s:/bin/false\n' "$(id -u)" "$(id -g)" "$PGDATA" >"$NSS_WRAPPER_PASSWD"
        printf 'postgres:x:%s:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
    fi
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"
    if [[ ${LD_PRELOAD:-} == */libnss_wrapper.so ]]; then
        rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
        unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    fi
    method=$(postgres -C password_encryption "${@:2}")
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}")"
    psql=(env PGHOST= PGHOSTADDR= psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc)
    [ "$POSTGRES_DB" = postgres ] || "${psql[@]}" --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db"'
    for script in /docker-entrypoint-initdb.d/*; do
        # shellcheck source=/dev/null
        case $script in
            *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
            *.sql) "${psql[@]}" --dbname "$POSTGRES_DB" -f "$script" ;;
        esac
    done
    PGUSER="${PGUSER:-postgres}" pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
fi
exec "$@"
