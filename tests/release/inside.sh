# Uses the files of a release in a Debian with PostgreSQL and nothing else: a server and a first login
# from the package, a second server beside it, and the same from the archive. Runs as root in a Debian that
# is thrown away afterwards.
set -euo pipefail
fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "- $* ($SECONDS s)"; }
! type -P cargo rustc cc gcc || fail "there is a compiler"
cd /release
lib=/usr/lib/postgresql/$MAJOR share=/usr/share/postgresql/$MAJOR
# Makes a server as a pipeline does, and logs in: NAME [DEB].
server() {
    local began=$SECONDS
    # The action's own script, with its output as it is put into the environment.
    bash /test/setup.sh "$MAJOR" "$@" >/tmp/environment 2>/tmp/said || { cat /tmp/said; fail "setup.sh $*"; }
    (
        set -a
        . /tmp/environment
        set +a
        export PATH=$lib/bin:$PATH
        as_admin=$(dsql-iam token --admin --hostname "$PGHOST")
        PGPASSWORD=$as_admin psql -XAtq --username admin --command "CREATE ROLE reader WITH LOGIN" \
            --command "AWS IAM GRANT reader TO 'arn:aws:iam::012345678912:user/app'"
        PGPASSWORD=$(dsql-iam token --hostname "$PGHOST") psql -XAtq --username reader \
            --command "SELECT sys.iam_session_user()" >/tmp/login
        PGPASSWORD=$as_admin psql -XAtq --username reader 2>/tmp/refused && fail "admin's token is taken for another role"
        grep -q "access denied" /tmp/refused || fail "$(cat /tmp/refused)"
        PGPASSWORD=$as_admin psql -XAtq "sslmode=disable user=admin" 2>/tmp/refused && fail "it takes a token without TLS"
        true
    ) || fail "$(cat /tmp/refused /tmp/said)"
    [ "$(cat /tmp/login)" = arn:aws:iam::012345678912:user/app ] || fail "the login: $(cat /tmp/login)"
    echo "  the first login after $((SECONDS - began)) s, on port $(sed -n 's/^PGPORT=//p' /tmp/environment)"
    [ $((SECONDS - began)) -lt 60 ] || fail "it took more than a minute"
}

step "the checksums are those of the files"
sha256sum --check --quiet --strict SHA256SUMS
[ "$(ls | grep -vc '^SHA256SUMS$')" = "$(wc -l <SHA256SUMS)" ] || fail "a file has no checksum"

step "the package"
server first "$(echo /release/postgresql-"$MAJOR"-dsql-iam_*.deb)"
step "a second server beside it"
server second
[ "$(pg_lsclusters --no-header | grep -c online)" = 2 ] || fail "$(pg_lsclusters)"
step "a name that is taken, and a user that is not root, are told"
if bash /test/setup.sh "$MAJOR" second >/dev/null 2>/tmp/said; then fail "it was made twice"; fi
grep -q "^setup.sh: there is a cluster $MAJOR/second already: take another name" /tmp/said || fail "$(cat /tmp/said)"
if setpriv --reuid nobody --clear-groups bash /test/setup.sh "$MAJOR" x >/dev/null 2>/tmp/said; then fail "not root"; fi
grep -q "^setup.sh: only root " /tmp/said || fail "$(cat /tmp/said)"
for name in first second; do pg_dropcluster --stop "$MAJOR" $name; done
apt-get purge -yqq "postgresql-$MAJOR-dsql-iam" >/dev/null 2>&1

step "the archive"
[ ! -e "$lib/lib/dsql_iam.so" ] || fail "the package left its library"
mkdir /tmp/archive
tar -xzf dsql_iam-*-pg"$MAJOR"-*.tar.gz -C /tmp/archive --strip-components 1
[ -z "$(find /tmp/archive ! -user root)" ] || fail "files of others"
cp /tmp/archive/lib/* "$lib/lib/"
cp /tmp/archive/share/extension/* "$share/extension/"
cp /tmp/archive/bin/* "$lib/bin/"
server third

step "the command by itself needs no library"
command=$(ls /release/dsql-iam-*-linux-*)
mkdir -p /tmp/empty/iam
cp "$command" /tmp/empty/dsql-iam
chmod 755 /tmp/empty/dsql-iam
chroot /tmp/empty /dsql-iam --version
AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF AWS_SECRET_ACCESS_KEY=x chroot /tmp/empty /dsql-iam token --region us-east-1 \
    --hostname localhost | grep -q 'X-Amz-Signature=' || fail "token"
setpriv --reuid postgres --regid postgres --init-groups "$command" doctor \
    "port=$(sed -n 's/^PGPORT=//p' /tmp/environment) dbname=postgres user=postgres host=/var/run/postgresql" >/tmp/said || fail "$(cat /tmp/said)"

step "the sources are as PGXN takes them"
# Debian's PostgreSQL brings perl, and nothing that unpacks.
perl -MIO::Uncompress::Unzip -e 'my $zip = IO::Uncompress::Unzip->new($ARGV[0]);
    for (my $more = 1; $more > 0; $more = $zip->nextStream) { print $zip->getHeaderInfo->{Name}, "\n" }' \
    /release/dsql_iam-*.zip >/tmp/list
grep -Eq '^dsql_iam-[0-9.]+/META.json' /tmp/list || fail "$(head /tmp/list)"
echo "a release's files are enough"
cmp /tmp/archive/LICENSE LICENSE
grep -q "Apache License" LICENSE || fail "the licence"
