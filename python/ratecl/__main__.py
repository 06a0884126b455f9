# SPDX-License-Identifier: Apache-2.0
"""The command, `ratecl` or `python -m ratecl`: runs the program that is beside this file."""
import os
import pathlib
import sys


def main() -> None:
    from . import _library

    program = pathlib.Path(__file__).with_name('ratecl-command')
    loaders = [line.split(maxsplit=5)[5].strip() for line in open('/proc/self/maps', encoding='utf-8') if 'libOpenCL.so' in line]
    del _library
    if loaders:  # the one that this process has found serves the program as well
        folder = str(pathlib.Path(loaders[0]).parent)
        os.environ['LD_LIBRARY_PATH'] = os.pathsep.join(filter(None, [os.environ.get('LD_LIBRARY_PATH'), folder]))
    os.execv(program, ['ratecl', *sys.argv[1:]])


if __name__ == '__main__':
    main()
