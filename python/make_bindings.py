#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make ratecl's cffi bindings (ABI mode) from the public headers.

    make_bindings.py OUTPUT HEADER... -- COMPILER...
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import cffi

# What the headers include, as far as cffi needs it: it knows the types of stddef.h and stdint.h itself.
STAND_INS = {
    'stddef.h': '',
    'stdint.h': '',
    'CL/cl.h': '\n'.join(f'typedef struct _{name} *{name};' for name in
                         ('cl_context', 'cl_device_id', 'cl_command_queue', 'cl_mem', 'cl_event'))
               + '\ntypedef unsigned int cl_uint;',
}


def declarations(header, compiler):
    """Return what a header declares, without its macros and attributes."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in STAND_INS.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        text = subprocess.run([*compiler, '-E', '-P', '-nostdinc', '-I', folder, '-I', header.parents[1], header],
                              check=True, capture_output=True, text=True).stdout
    return re.sub(r'__attribute__\s*\(\(visibility\("default"\)\)\)', '', text)


def main(arguments):
    split = arguments.index('--')
    output, headers, compiler = pathlib.Path(arguments[0]), arguments[1:split], arguments[split + 1:]
    # opencl.h includes ratecl.h: the last header has all of it.
    text = declarations(pathlib.Path(headers[-1]).resolve(), compiler)
    ffi = cffi.FFI()
    ffi.cdef(text)
    ffi.set_source('ratecl._bindings', None)
    ffi.emit_python_code(str(output))


if __name__ == '__main__':
    main(sys.argv[1:])
