#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# once_more.sh PROGRAM [ARGUMENT...]: run a test program, and where a signal kills it, say so and run it once more.
# For rusticl of Mesa 22.3, which is experimental and was seen to crash once in hundreds of runs; wrong values
# are never asked for twice.
"$@"
status=$?
[ "$status" -ge 128 ] || exit "$status"
echo "$1: killed by signal $((status - 128)); once more"
exec "$@"
