#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# interposed.sh LIBRARY PROGRAM: every OpenCL function that the library calls is one of the program's own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
nm -D --undefined-only "$1" | awk '{ sub("@.*", "", $2); print $2 }' | grep '^cl[A-Z]' | LC_ALL=C sort >"$folder/called"
nm -D --defined-only "$2" | awk '{ print $3 }' | grep '^cl[A-Z]' | LC_ALL=C sort >"$folder/interposed"
[ -s "$folder/called" ]
LC_ALL=C comm -23 "$folder/called" "$folder/interposed" >"$folder/missing"
if [ -s "$folder/missing" ]; then
    echo "$2 lets these calls of $1 pass:"
    cat "$folder/missing"
    exit 1
fi
echo "$(wc -l <"$folder/called") functions"
