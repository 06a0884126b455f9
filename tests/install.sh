#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh BUILD SOURCE PREFIX LIBDIR OPENCL: install the build, move what was installed, and use it as a program and
# from C, C++, CMake and Meson; install a static library, and use that. Nothing is installed on the machine itself, and
# neither LD_LIBRARY_PATH nor the loader's cache helps. What a tool is missing for is skipped by name.
set -eu
build=$1 source=$2 prefix=$3 libdir=$4 opencl=$5

unset LD_LIBRARY_PATH LD_PRELOAD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log
compiler=${CC:-cc}

# quietly COMMAND...: the output only where it fails.
quietly() {
    "$@" >"$log" 2>&1 || { cat "$log"; fail "$*"; }
}

fail() {
    echo "install: failed: $*"
    exit 1
}

has() {
    command -v "$1" >/dev/null && return 0
    echo "skipped, for want of $1: $2"
    return 1
}

# starts PROGRAM: it prints what the README says.
starts() {
    printed=$("$@" 2>&1) || fail "$*: $printed"
    [ "$printed" = 0.1000 ] || fail "$* printed $printed: expected 0.1000"
}

# packages PREFIX pkg-config's arguments...: as pkg-config where the installed tree lies in PREFIX.
packages() {
    where=$1
    shift
    PKG_CONFIG_PATH=$where/$libdir/pkgconfig pkg-config --define-variable=prefix="$where" "$@" ratecl
}

cp -R "$source/tests/consumer" "$folder/consumer"
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/README.md" >"$folder/consumer/program.c"
program=$folder/consumer/program

# ---- Staged, then moved ----

quietly meson install -C "$build" --no-rebuild --destdir "$folder/staged"
moved=$folder/moved
mv "$folder/staged$prefix" "$moved"

quietly "$moved/bin/ratecl" --version
quietly "$moved/bin/ratecl" selftest --device cpu
if [ "$opencl" = yes ] && "$moved/bin/ratecl" devices | grep -q 'opencl:'; then
    quietly "$moved/bin/ratecl" selftest --device opencl
    export RATECL_DEVICE=opencl # its kernels are found, too
fi

if has pkg-config 'linking with the shared library'; then
    # shellcheck disable=SC2046 # lists of flags
    quietly "$compiler" -Wall -Werror "$program.c" -o "$program" $(packages "$moved" --cflags --libs) "-Wl,-rpath,$moved/$libdir"
    starts "$program"
    if has c++ 'the headers in C++'; then
        # shellcheck disable=SC2046
        quietly c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror "$program.cpp" $([ "$opencl" != yes ] || echo -DWITH_OPENCL) \
            -o "$program++" $(packages "$moved" --cflags --libs) "-Wl,-rpath,$moved/$libdir"
        starts "$program++"
    fi
fi

# configure PREFIX NAME OPTION...
configure() {
    in=$1 name=$2
    shift 2
    cmake -G Ninja -S "$folder/consumer" -B "$folder/$name" -DCMAKE_PREFIX_PATH="$in" "$@"
}

# with_cmake PREFIX NAME
with_cmake() {
    quietly configure "$1" "$2"
    quietly cmake --build "$folder/$2"
    starts "$folder/$2/program"
}
if has cmake 'find_package(ratecl), shared and static'; then
    with_cmake "$moved" cmake-shared
    for version in 0.1 0.2.99 0.3 1; do
        if configure "$moved" "cmake-$version" -DVERSION_WANTED=$version >"$log" 2>&1; then
            fail "CMake found version $version"
        fi
        grep -q 'version: 0' "$log" || fail "CMake refused version $version for another reason: $(cat "$log")"
    done
fi

# ---- As a subproject, and static ----

mkdir "$folder/consumer/subprojects"
ln -s "$source" "$folder/consumer/subprojects/ratecl"
static=$folder/static
quietly meson setup "$folder/subproject" "$folder/consumer" --wrap-mode forcefallback --prefix "$static" --libdir "$libdir" -Ddefault_library=both \
    -Dbuildtype=debug -Dratecl:opencl="$([ "$opencl" = yes ] && echo enabled || echo disabled)"
quietly meson compile -C "$folder/subproject"
starts "$folder/subproject/program"
if meson introspect "$folder/subproject" --targets | tr ',' '\n' | grep -E 'ratecl/(tests|bench|examples)/meson.build'; then
    fail 'a subproject builds its tests, benchmark or examples'
fi
# no_openmp FILE TEXT: a user's sources are compiled without -fopenmp.
no_openmp() {
    if grep "$2" "$1" | grep -e -fopenmp; then
        fail "$1 has -fopenmp for users"
    fi
}
no_openmp "$folder/subproject/compile_commands.json" 'program.c"'
no_openmp "$folder/subproject/meson-private/ratecl.pc" .
quietly meson install -C "$folder/subproject" --no-rebuild
rm "$static/$libdir"/libratecl.so*

if has pkg-config 'linking with the static library'; then
    # shellcheck disable=SC2046
    quietly "$compiler" -Wall -Werror "$program.c" -o "$program-static" $(packages "$static" --static --cflags --libs)
    starts "$program-static"
fi
if command -v cmake >/dev/null; then
    with_cmake "$static" cmake-static
fi

# Without a shared library at its side the package file is another one.
quietly meson configure "$folder/subproject" -Ddefault_library=static
quietly meson setup --reconfigure "$folder/subproject" "$folder/consumer"
no_openmp "$folder/subproject/meson-private/ratecl.pc" .
quietly meson compile -C "$folder/subproject" program
starts "$folder/subproject/program"
