# Enters a Debian with a layer above it, as a machine of its own, and runs a command there: DEBIAN LAYER COMMAND...
# In namespaces of its own, so that with this process all that it mounted and started is gone. A Rust toolchain
# that TOOLCHAIN names is in /opt/rust, where nobody writes. Without a command it does no more than try.
set -euo pipefail
debian=$1 layer=$2
shift 2
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$debian,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
root=$layer/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
if [ -n "${TOOLCHAIN:-}" ]; then
    mkdir -p "$root/opt/rust"
    mount --bind "$TOOLCHAIN" "$root/opt/rust"
    mount -o remount,bind,ro "$root/opt/rust"
fi
[ $# -gt 0 ] || exit 0
exec chroot "$root" env --unset TOOLCHAIN "$@"
