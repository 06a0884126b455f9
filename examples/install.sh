#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh [--optional] PACKAGE...: install those of the named Debian packages that are missing, and touch nothing
# else. Without root rights the exit status is 1, after a line for the administrator. With --optional, packages that
# this Debian lacks, that would remove others, or that need rights are left out, by name.
set -eu

optional=
[ "${1:-}" != --optional ] || { optional=1; shift; }

if ! command -v dpkg-query >/dev/null; then
    echo "install: this is not Debian or a relative of it; wanted are the equivalents of: $*"
    exit 0
fi

missing=
for package; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
    *' ok installed') ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

# no_rights: say what to ask for, or what is left out.
no_rights() {
    echo 'install: only root can install Debian packages, and sudo is no way to that here'
    if [ -n "$optional" ]; then
        echo "install: left out:$missing"
        exit 0
    fi
    echo 'install: please ask your administrator for this:'
    echo "    apt-get install --no-install-recommends$missing"
    exit 1
}

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null || no_rights
fi
echo "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# install PACKAGE...
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

if [ -n "$optional" ]; then
    $as_root apt-get update >"$log" 2>&1 </dev/null || true
    for package in $missing; do
        install --no-remove "$package" || echo "install: $package was left out"
    done
    exit 0
fi
# shellcheck disable=SC2086 # lists of words
if ! { $as_root apt-get update >"$log" 2>&1 </dev/null && install $missing; }; then
    cat "$log"
    if [ -n "$as_root" ] && ! sudo true </dev/null >/dev/null 2>&1; then
        no_rights
    fi
    exit 1
fi
