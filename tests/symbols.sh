#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# symbols.sh LIBRARY LIST...: the library exports what the lists name, and nothing else.
set -eu
library=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
nm -D --defined-only "$library" | awk '{ print $3 }' | LC_ALL=C sort >"$folder/exported"
cat "$@" | LC_ALL=C sort >"$folder/expected"
diff -u "$folder/expected" "$folder/exported"
echo "$(wc -l <"$folder/expected") symbols as listed"
