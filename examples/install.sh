#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install those of the named Debian packages that are missing; ask nothing, and touch nothing else.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "install: this is not Debian or a relative of it; needed are the equivalents of: $*"
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
# shellcheck disable=SC2086 # lists of words
if ! { $as_root apt-get update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
    >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    exit 1
fi
