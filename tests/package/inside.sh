# Installs the package in a Debian with PostgreSQL, sets a server up, uses it, and takes all of it
# away again. Runs as root in a Debian that is thrown away afterwards.
set -euo pipefail
config=/etc/postgresql/$VERSION/main data=/var/lib/postgresql/$VERSION/main
package=postgresql-$VERSION-dsql-iam
export DEBIAN_FRONTEND=noninteractive

fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "- $*"; }
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups --reset-env "$@"; }
psql_() { as_postgres psql -XAtq --command "$1"; }
server() { pg_ctlcluster "$VERSION" main "$@"; }
# Everything that the package or setup could have changed: names, owners, modes and contents. The
# server itself writes into the folders of the data directory, and a few files beside them.
state() {
    # Some of these folders are not there before, and must not be there after.
    { find /etc/postgresql /usr/bin /usr/lib/postgresql /usr/share/postgresql /usr/share/man \
        /usr/share/bash-completion /usr/share/zsh /usr/share/fish /etc/alternatives \
        /var/lib/dpkg/alternatives "$data" \
        -maxdepth 6 -not -path "$data/*/*" -printf '%p %u:%g %m %l\n' 2>/dev/null || true; } |
        grep -vE "^$data/(postmaster.opts|current_logfiles) " | LC_ALL=C sort
    sha256sum "$config"/* "$data/postgresql.auto.conf" 2>/dev/null || true
}

before=$(state)

step "the package is installed"
apt-get install -yqq --no-install-recommends /test/package.deb >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail install; }
dsql-iam --version
for page in dsql-iam $(zcat /usr/share/man/man1/dsql-iam.1.gz | grep -oE 'dsql\\-iam\\-[a-z\\-]+\(1\)' | tr -d '\\' | sed 's/(1)//'); do
    [ -s "/usr/share/man/man1/$page.1.gz" ] || fail "no manual page $page"
    pages=$((${pages:-0} + 1))
done
[ "$pages" -gt 10 ] || fail "$pages manual pages"
bash -n /usr/share/bash-completion/completions/dsql-iam
grep -q "^Depends: postgresql-$VERSION (>= $VERSION" <<<"$(dpkg-query -s "$package")" || fail "dependencies"

step "setup shows what it would change, and changes nothing"
installed=$(state)
arguments=(--data "$data" --account-id 012345678912 --region us-east-1)
shown=$(dsql-iam setup "${arguments[@]}")
grep -q "shared_preload_libraries = 'dsql_iam'" <<<"$shown" || fail "$shown"
grep -q "add --yes" <<<"$shown" || fail "$shown"
[ "$(state)" = "$installed" ] || fail "it changed something"

step "setup changes it, once, and leaves nothing of root's"
dsql-iam setup "${arguments[@]}" --yes >/dev/null
once=$(state)
again=$(dsql-iam setup "${arguments[@]}" --yes)
grep -q "nothing to change" <<<"$again" || fail "$again"
[ "$(state)" = "$once" ] || fail "the second time changed something"
[ -z "$(find "$data" "$config" ! -user postgres)" ] || fail "files of $(find "$data" "$config" ! -user postgres)"
iam=$config/dsql_iam
[ "$(stat -c %a "$iam")" = 700 ] || fail "mode of the IAM directory"

step "the server starts with the library, and doctor is content"
dsql-iam sample-identities "$iam" --account-id 012345678912 >/dev/null
eval "$(dsql-iam create-access-key --user-name dba --iam-directory "$iam" --format env)"
key=$AWS_ACCESS_KEY_ID secret=$AWS_SECRET_ACCESS_KEY
server start
if as_postgres dsql-iam doctor >/tmp/doctor; then fail "doctor is content without the extension"; fi
grep -q '^fault    extension ' /tmp/doctor || fail "$(cat /tmp/doctor)"
psql_ "CREATE EXTENSION dsql_iam"
as_postgres dsql-iam doctor >/tmp/doctor || fail "$(cat /tmp/doctor)"
if grep -v '^ok ' /tmp/doctor; then fail "doctor is not all green"; fi

step "a token opens it, and a wrong one does not"
host=$(psql_ "SHOW dsql_iam.cluster_id").dsql.us-east-1.on.aws
login() {
    PGPASSWORD=$(AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$1 dsql-iam token --admin \
        --region us-east-1 --hostname "${2:-$host}") \
        psql -XAtq "host=localhost user=admin dbname=postgres sslmode=require" \
        -c "SELECT sys.iam_session_user()"
}
[ "$(login $secret)" = arn:aws:iam::012345678912:user/dba ] || fail "login"
if login "${secret}x" 2>/tmp/refused; then fail "a wrong signature opens it"; fi
grep -q "access denied" /tmp/refused || fail "$(cat /tmp/refused)"
if login $secret localhost 2>/tmp/refused; then fail "a token for any machine opens it"; fi
grep -q "access denied" /tmp/refused || fail "$(cat /tmp/refused)"

step "the first login of docs/install.md, with Debian's certificate"
# The machine's name when the certificate was made.
certificate=/etc/ssl/certs/ssl-cert-snakeoil.pem
name=$(openssl x509 -in $certificate -noout -subject -nameopt multiline | sed -n 's/^ *commonName *= //p')
psql_ "ALTER SYSTEM SET dsql_iam.endpoints = '$name'"
psql_ "SELECT pg_reload_conf()" >/dev/null
until [ "$(psql_ "SHOW dsql_iam.endpoints")" = "$name" ] || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done
(
    export PGHOST=$name PGHOSTADDR=127.0.0.1 PGSSLMODE=verify-full PGSSLROOTCERT=$certificate
    PGPASSWORD=$(dsql-iam token --admin --region us-east-1 --hostname "$name") psql --username admin --dbname postgres \
        -XAtq -c "SELECT sys.iam_session_user()"
) >/tmp/login
[ "$(cat /tmp/login)" = arn:aws:iam::012345678912:user/dba ] || fail "$(cat /tmp/login)"
psql_ "ALTER SYSTEM RESET dsql_iam.endpoints"

step "setup by connection finds that nothing is to be done"
if dsql-iam setup "host=/var/run/postgresql user=postgres" >/tmp/setup 2>&1; then fail "root is let in as postgres"; fi
grep -q '^dsql-iam: the server could not be asked: .* Peer authentication failed for user "postgres"' /tmp/setup || fail "$(cat /tmp/setup)"
by_connection=$(as_postgres dsql-iam setup "dbname=postgres" --yes)
grep -q "nothing to change" <<<"$by_connection" || fail "$by_connection"

step "the package is purged while the server runs, which starts again without it"
psql_ "CREATE ROLE reader LOGIN; AWS IAM GRANT reader TO 'arn:aws:iam::012345678912:user/dba'"
[ "$(psql_ "SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings" | wc -l)" = 1 ] || fail "no mapping to revoke"
[ -z "$(psql_ "SELECT arn FROM sys.iam_pg_role_mappings")" ] || fail "a mapping is left"
psql_ "DROP EXTENSION dsql_iam"
psql_ "DROP ROLE reader"
psql_ "DROP OWNED BY admin; DROP ROLE admin"
rm "$iam"/*.json
apt-get purge -yqq "$package" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail purge; }
grep -q "in force until the restart" /tmp/apt.log || fail "$(cat /tmp/apt.log)"
server restart
[ "$(psql_ "SHOW hba_file")" = "$config/pg_hba.conf" ] || fail "hba_file"
[ -z "$(psql_ "SHOW shared_preload_libraries")" ] || fail "shared_preload_libraries"
server stop
diff <(echo "$before") <(state) || fail "the package left something"

step "the same with a server that does not run leaves nothing at all"
apt-get install -yqq --no-install-recommends /test/package.deb >/dev/null 2>&1
dsql-iam setup "${arguments[@]}" --yes >/dev/null
server start
server stop
apt-get purge -yqq "$package" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail purge; }
diff <(echo "$before") <(state) || fail "the package left something"

step "a server that ALTER SYSTEM has load the library starts again too"
apt-get install -yqq --no-install-recommends /test/package.deb >/dev/null 2>&1
server start
psql_ "ALTER SYSTEM SET shared_preload_libraries = 'dsql_iam'"
server restart
[ "$(psql_ "SHOW shared_preload_libraries")" = dsql_iam ] || fail "not loaded"
apt-get purge -yqq "$package" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail purge; }
server restart
[ -z "$(psql_ "SHOW shared_preload_libraries")" ] || fail "shared_preload_libraries"
server stop
diff <(echo "$before") <(state) || fail "the package left something"

step "where somebody else's line has it load the library, the removal says so and goes on"
apt-get install -yqq --no-install-recommends /test/package.deb >/dev/null 2>&1
cp -a "$config/postgresql.conf" /tmp/postgresql.conf
echo "shared_preload_libraries = 'dsql_iam'" >>"$config/postgresql.conf"
apt-get purge -yqq "$package" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; fail purge; }
grep -q "^dsql-iam: line [0-9]* of $config/postgresql.conf has the server load the library" /tmp/apt.log || fail "$(cat /tmp/apt.log)"
grep -q "^$config/postgresql.conf: if this server loads dsql_iam, please mend that" /tmp/apt.log || fail "$(cat /tmp/apt.log)"
cp -a /tmp/postgresql.conf "$config/postgresql.conf"
diff <(echo "$before") <(state) || fail "the package left something"
echo "all of it is as it was"
