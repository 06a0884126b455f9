#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# example.sh RATE_NETWORK [RATECL]: the example's values agree between the CPU and OpenCL, and with the command's
# on the files it saves; README.md's program compiles and prints what README.md says.
set -eu
example=$(realpath "$1")
command=${2:+$(realpath "$2")}
build=$(dirname "$(dirname "$example")")
source=$(realpath "$(dirname "$0")/..")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fail() {
    echo "example: $*" >&2
    exit 1
}

# The lines "criterion value" of a table, sorted: the two programs have orders of their own.
values() {
    awk '$1 ~ /^(firing_rate|firing_rate_dist|state_prediction|hebbian|entropy|population_kl|total)$/ &&
        $NF ~ /^[-+0-9.e]+$/ { print $1, $NF }' "$1" | sort
}

# agree ONE OTHER: seven values each, equal to 1e-3.
agree() {
    values "$1" >one
    values "$2" >other
    paste -d ' ' one other | awk -v files="$1, $2" '
        { d = $2 - $4; if (d < 0) d = -d; m = $2 < 0 ? -$2 : $2 }
        $1 != $3 || d > 1e-3 * m { print "example: " files " differ: " $0; bad = 1 }
        END { if (NR != 7) { print "example: " NR " values of 7 in " files; bad = 1 } exit bad }' >&2 ||
        fail "$1 and $2 do not agree"
}

mkdir saved
"$example" --device cpu --save saved >on_cpu
"$example" --device cpu >again
cmp -s on_cpu again || fail 'two runs on the CPU differ'
"$example" >default
agree on_cpu default
if "$example" --device 'no such device' >refused 2>&1; then
    fail 'a device that is not there was accepted'
fi

if [ -n "$command" ]; then
    "$command" eval --device cpu --weights saved/weights.npy --reference saved/reference.npy saved/states.npy >files
    agree on_cpu files
fi

awk '/^```/ { inside = /^```c$/; next } inside' "$source/README.md" >readme.c
# shellcheck disable=SC2086 # a list of words
${CC:-cc} -std=c11 -Wall -Wextra -Werror ${CFLAGS:-} -I"$source/include" readme.c -o readme \
    -L"$build/src" -lratecl -Wl,-rpath,"$build/src"
said=$(sed -n 's|.*/\* prints \(.*\) \*/.*|\1|p' readme.c)
got=$(./readme)
[ "${said:-nothing}" = "$got" ] || fail "README.md's program printed '$got', not '$said'"
