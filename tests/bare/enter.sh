# Enters a Debian with a layer above it, as a machine of its own: ROOT-BELOW LAYER USER WORDS...
# In namespaces of its own, so that with this process all that it mounted and started is gone. Process 1
# is an init that reaps, as every machine has one.
set -euo pipefail
debian=$1 layer=$2 toolchain=$3
shift 3
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$debian,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
root=$layer/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mkdir -p "$root/opt/rust"
mount --bind "$toolchain" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
cp "${BASH_SOURCE[0]%/*}/inside.sh" "$root/tmp/"
exec chroot "$root" tini -s -- bash /tmp/inside.sh "$@"
