#!/usr/bin/env bash
# Makes identities for a server that nobody gave documents to: FOLDER ACCOUNT FILE. Runs as the server's user.
# The users app, dba and visitor are those of dsql-iam sample-identities. With DSQL_IAM_ACCESS_KEY_ID and
# DSQL_IAM_SECRET_ACCESS_KEY in the environment that is the only key, and app's; without, each has a key of its
# own, and FILE has them all in the form that AWS's programs read.
set -euo pipefail
shopt -s nullglob
umask 077
iam=$1 account=$2 credentials=$3

if ! grep -qs "arn:aws:iam::$account:user/app\"" "$iam"/*.json; then
    rm -rf "$iam" "$credentials"
    dsql-iam sample-identities "$iam" --account-id "$account" >/dev/null
    rm "$iam"/*-access-key.json
fi
if [ -n "${DSQL_IAM_ACCESS_KEY_ID:-}" ]; then
    rm -f "$credentials" "$iam"/access-key-*.json
    printf '{"AccessKey": {"UserName": "app", "AccessKeyId": "%s", "Status": "Active", "SecretAccessKey": "%s"}}\n' \
        "$DSQL_IAM_ACCESS_KEY_ID" "$DSQL_IAM_SECRET_ACCESS_KEY" >"$iam/environment.json"
    exit
fi
rm -f "$iam/environment.json"
[ ! -s "$credentials" ] || exit 0
rm -f "$iam"/access-key-*.json
for profile in default app dba visitor; do
    # Those that name no profile are app.
    if [ $profile != app ]; then
        key=$(dsql-iam create-access-key --user-name "${profile/default/app}" --iam-directory "$iam" --format env)
    fi
    printf '[%s]\n' $profile
    sed -n "s/^export \(AWS_[A-Z_]*\)='\(.*\)'$/\L\1\E = \2/p" <<<"$key"
done >"$credentials.new"
mv "$credentials.new" "$credentials"
