#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh SECONDS FOLDER TARGET...: let libFuzzer run each target for so many seconds, side by side, from the inputs in
# corpus/. What is new goes to FOLDER/NAME-corpus, and an input that fails to FOLDER/NAME-finding-*. The last lines say
# how many inputs ran and what they covered; the exit status is 0 where nothing failed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
seconds=$1 folder=$2
shift 2

# fuzz TARGET: run one of them.
fuzz() (
    name=$(basename "$1" | sed 's/^fuzz_//')
    mkdir -p "$folder/$name-corpus"
    [ ! -f "$here/$name.dict" ] || set -- "$1" "-dict=$here/$name.dict"
    status=0
    "$@" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$folder/$name-finding-" "$folder/$name-corpus" "$here/corpus/$name" \
        >"$folder/$name.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 40 "$folder/$name.log"
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/$name.log")
    covered=$(sed -n 's/.*\(cov: [0-9]* ft: [0-9]* corp: [0-9]*\).*/\1/p' "$folder/$name.log" | tail -n 1)
    echo "$name: ${runs:-0} inputs, $covered, exit status $status"
    exit "$status"
)

pids=
for target; do
    fuzz "$target" &
    pids="$pids $!"
done
failed=0
for pid in $pids; do
    wait "$pid" || failed=1
done
exit "$failed"
