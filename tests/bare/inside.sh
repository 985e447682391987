# Runs README's two commands in a Debian with nothing but Rust, and a clone. USER
# WORDS..., which are added to `./x test`; with `up` as the only word that is left out.
set -euo pipefail
user=$1
shift
step() { printf '\n##### %s (%s s)\n' "$*" "$SECONDS"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
as_user() {
    if [ "$user" = root ]; then
        (cd /root/dsql_iam && "$@")
    else
        setpriv --reuid "$user" --regid "$user" --init-groups env HOME="/home/$user" USER="$user" \
            bash -c 'cd ~/dsql_iam && exec "$@"' bash "$@"
    fi
}
export PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

# Runs a command. An ordinary user may be told what is missing, in lines to paste, and root pastes them: once, or
# twice if only some tests are to run, whose packages `./x` does not know.
pastes=1
[ $# = 0 ] || [ "$*" = up ] || pastes=2
with_what_is_missing() {
    until as_user "$@" 2>&1 | tee /tmp/said; do
        pastes=$((pastes - 1))
        [ $pastes -ge 0 ] || fail "$*"
        grep '^  \(sudo\|echo\) ' /tmp/said > /tmp/lines || fail "$* (nothing to paste)"
        step "pasted: $(cat /tmp/lines)"
        sed 's/\<sudo //' /tmp/lines | bash -e >/tmp/pasted 2>&1 || { cat /tmp/pasted; fail "what it said to paste"; }
        ! pgrep --exact postgres || fail "the packages started a server"
    done
}

apt-get -qq update
if [ "$*" != up ]; then
    step "./x test $*"
    with_what_is_missing ./x test "$@"
fi
step "./x up"
with_what_is_missing ./x up --detach
step "README's first login"
as_user bash -euc '
    source target/dsql-iam/env.sh
    PGPASSWORD=$(AWS_PROFILE=admin dsql-iam token --admin --hostname localhost) psql --username admin \
        --command "CREATE ROLE reader WITH LOGIN" \
        --command "AWS IAM GRANT reader TO '\''arn:aws:iam::012345678912:role/example'\''"
    PGPASSWORD=$(AWS_PROFILE=example dsql-iam token --hostname localhost) psql --username reader \
        --command "SELECT sys.iam_session_user()" | tee /tmp/login'
grep -q ':assumed-role/example/' /tmp/login || fail "the login"
step "./x down --remove"
as_user ./x down --remove
! pgrep --exact postgres || fail "the server is still there"
step "done"
