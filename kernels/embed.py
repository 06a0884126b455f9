#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the kernels into a C file, named by their paths in this folder: embed.py OUTPUT KERNEL..."""
import pathlib
import sys

folder = pathlib.Path(__file__).resolve().parent
output, *kernels = map(pathlib.Path, sys.argv[1:])
lines = ['#include "opencl/program.h"', "", "const rc_kernel_source rc_kernel_sources[] = {"]
for kernel in kernels:
    numbers = ",".join(str(byte) for byte in kernel.read_bytes())
    lines.append(f'    {{ "{kernel.resolve().relative_to(folder).as_posix()}", (const char[]){{ {numbers},0 }} }},')
lines += ["    { 0, 0 },", "};", ""]
output.write_text("\n".join(lines))
