#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# packages.sh SOURCE: what examples/install.sh does and says on a Debian that these stand-ins pretend to be, of which
# `present` is installed, with and without rights.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
script=$1/examples/install.sh
for tool in sh cat env mktemp rm; do
    ln -s "$(command -v $tool)" "$folder/$tool"
done

# stub NAME BODY: a program of that name.
stub() {
    printf '#!/bin/sh\n%s\n' "$2" >"$folder/$1"
    chmod +x "$folder/$1"
}

# expect STATUS TEXT... -- ARGUMENT...: run the script; its output holds each text.
expect() {
    wanted=$1
    shift
    : >"$folder/texts"
    while [ "$1" != -- ]; do
        echo "$1" >>"$folder/texts"
        shift
    done
    shift
    status=0
    : >"$folder/calls"
    env -i PATH="$folder" sh "$script" "$@" >"$folder/output" 2>&1 || status=$?
    [ "$status" -eq "$wanted" ] || failed "status $status: expected $wanted" "$@"
    while read -r text; do
        cat "$folder/output" "$folder/calls" | grep -qF -- "$text" || failed "no \"$text\"" "$@"
    done <"$folder/texts"
}

failed() {
    echo "install.sh: $*"
    cat "$folder/output" "$folder/calls"
    exit 1
}

expect 0 'not Debian' 'present absent' -- present absent # no dpkg-query

# shellcheck disable=SC2016 # of the stand-ins
stub dpkg-query '[ "$3" = present ] && echo "install ok installed"'
stub id 'echo 0'
# shellcheck disable=SC2016
stub apt-get 'echo "apt-get $*" >>"${0%/*}/calls"; case "$*" in *unknown*) echo "Unable to locate package unknown"; exit 100 ;; esac'

expect 0 -- present
[ ! -s "$folder/output" ] || failed 'prints something though nothing is missing'
[ ! -s "$folder/calls" ] || failed 'calls apt-get though nothing is missing'
expect 0 'installing absent' 'apt-get install -y --no-install-recommends absent' -- present absent
expect 1 'Unable to locate package unknown' -- absent unknown
expect 0 'unknown was left out' 'install -y --no-install-recommends --no-remove absent' -- --optional unknown absent

# Not root: without sudo, with one that refuses, and with one that works.
stub id 'echo 1000'
line='apt-get install --no-install-recommends absent other'
expect 1 'only root' 'ask your administrator' "$line" -- present absent other
[ ! -s "$folder/calls" ] || failed 'calls apt-get without rights'
expect 0 'left out: absent' -- --optional present absent
stub sudo 'echo "user is not in the sudoers file" >&2; exit 1'
expect 1 'not in the sudoers file' 'ask your administrator' "$line" -- present absent other
expect 0 'absent was left out' -- --optional present absent
# shellcheck disable=SC2016
stub sudo 'exec "$@"'
expect 0 'installing absent other' 'apt-get install -y --no-install-recommends absent other' -- present absent other
echo 'install.sh asks for what it cannot install'
