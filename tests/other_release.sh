#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# other_release.sh FOLDER [RELEASE]: in a root of the other Debian release, with exactly the packages that the README
# names, run the README's commands for building and installing, and start what was installed; then add what the tests
# need, and run the fast ones. The roots are kept in FOLDER for the next time. The exit status is 77, after a line that
# says why, where no such root can be made.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
folder=$(cd "$1" && pwd)
source=$PWD

skipped() {
    echo "$*"
    exit 77
}

[ "$(id -u)" -eq 0 ] || skipped 'root rights are missing'
command -v debootstrap >/dev/null || skipped 'debootstrap is missing'
unshare --mount --pid --fork true 2>/dev/null || skipped 'file systems cannot be mounted here'
# shellcheck source=/dev/null
release=${2:-$(. /etc/os-release && [ "${VERSION_CODENAME:-}" = bookworm ] && echo trixie || echo bookworm)}
bare=$folder/root-$release tested=$folder/root-$release-tests build=$folder/build-$release

tests_packages='binutils check cmake g++ pkg-config'
tests='oracle_cases terms arguments structs domain single command command_files selftest symbols install'

# inside ROOT COMMAND: run a command in a root, where /ratecl is the source, not to be written, and /build the build.
# What is mounted goes with the command.
inside() {
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --pid --fork sh -ec '
        mount --make-rprivate /
        mkdir -p "$1/ratecl" "$1/build"
        mount --bind "$2" "$1/ratecl"
        mount -o remount,bind,ro "$1/ratecl"
        mount --bind "$3" "$1/build"
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --rbind /sys "$1/sys"
        exec chroot "$1" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} sh -ec "$4"
    ' sh "$1" "$source" "$build" "$2"
}

# The packages are those of the README's line.
packages=$(sed -n 's/^ *sudo apt-get install //p' README.md | head -n 1)
[ -n "$packages" ] || { echo 'no line of README.md installs packages'; exit 1; }

# make_root: the two roots, from where this machine gets its own packages.
make_root() {
    # shellcheck disable=SC2016 # expanded by apt-get
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
    making=$folder/root-making
    rm -rf "$making"
    debootstrap --variant=minbase "$release" "$making" "${mirror:-http://deb.debian.org/debian}" ||
        skipped "debootstrap makes no root of $release"
    cp /etc/resolv.conf "$making/etc/resolv.conf"
    apt-config dump | grep -i '^Acquire::.*Proxy' >"$making/etc/apt/apt.conf.d/proxy" || true
    inside "$making" "apt-get update && apt-get install -y $packages && apt-get clean"
    rm -rf "$bare" "$tested"
    cp -a "$making" "$tested"
    inside "$tested" "apt-get install -y --no-install-recommends $tests_packages && apt-get clean"
    mv "$making" "$bare"
}

rm -rf "$build" # Meson would remember what it found in the second root
mkdir -p "$build"
echo "packages of the README: $packages"
[ -d "$bare" ] || make_root
echo "== $release: with the packages of the README alone"
inside "$bare" '
    if command -v pkg-config; then echo "pkg-config is there, which nobody needs"; exit 1; fi
    cd /ratecl
    meson setup /build -Dwerror=true
    meson compile -C /build
    meson install -C /build
    rm -f /etc/ld.so.cache # the command starts without it
    ratecl --version
    ratecl selftest --device cpu
    ratecl selftest --device opencl
'
echo "== $release: tests"
inside "$tested" '
    meson configure /build -Dtests=enabled
    meson compile -C /build
    cd /build
    export RATECL_TEST_DEVICE=opencl RATECL_TEST_SIZE=small
    meson test --no-rebuild --print-errorlogs -t 6 '"$tests"'
'
