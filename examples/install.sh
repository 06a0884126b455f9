#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh [--optional] PACKAGE...: install those of the named Debian packages that are missing; ask nothing, and
# touch nothing else. With --optional, packages that this Debian lacks or that would remove others are left out, by
# name.
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

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
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
    cat "$log" >&2
    exit 1
fi
