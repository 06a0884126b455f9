# SPDX-License-Identifier: Apache-2.0
"""The C library: loading it, and its errors as exceptions."""
from __future__ import annotations

import ctypes
import importlib.util
import os
import pathlib

from ._bindings import ffi


class Error(RuntimeError):
    """What a function of the C library reports, with its message. `status` is the number of ratecl.h."""

    status: int = 0


class ArgumentError(Error, ValueError):
    """An argument is refused: the message names it, its value and what was expected."""


class DomainError(Error, ArithmeticError):
    """A value is not finite: the message says which input, how many elements, and the first one's [b,t,i]."""


class NoDeviceError(Error):
    """There is no such device; the message lists those that were found."""


class UnsupportedError(Error):
    """The device, or this build, lacks something that the plan needs."""


class OutOfMemoryError(Error, MemoryError):
    """Host or device memory ran out."""


class BuildError(Error):
    """A kernel did not compile; the message ends with the build log."""


class DeviceError(Error):
    """An OpenCL call failed; the message names the call and the code."""


_EXCEPTIONS = (ArgumentError, DomainError, NoDeviceError, UnsupportedError, OutOfMemoryError, BuildError, DeviceError)
for _number, _exception in enumerate(_EXCEPTIONS, start=1):
    _exception.status = _number


def _load_brought_loader() -> None:
    """Load the OpenCL loader that pip has brought, for systems that have none.

    The library asks for it by the name libOpenCL.so.1, which a loaded library of that name satisfies."""
    spec = importlib.util.find_spec('nvidia')
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = pathlib.Path(folder, 'cuda_opencl', 'lib', 'libOpenCL.so.1')
        if path.exists():
            ctypes.CDLL(str(path))
            return


def _load():
    """Load the library beside this file, or the one that the environment's RATECL_LIBRARY names."""
    path = os.environ.get('RATECL_LIBRARY') or str(pathlib.Path(__file__).with_name('libratecl.so'))
    try:
        return ffi.dlopen(path)
    except OSError:
        _load_brought_loader()
    try:
        return ffi.dlopen(path)
    except OSError as error:
        raise ImportError(f'ratecl: failed to load {path}: {error}') from None


lib = _load()


def last_error() -> str:
    """Return the message of this thread's last failed call."""
    return ffi.string(lib.ratecl_last_error()).decode(errors='replace')


def check(status: int) -> None:
    """Raise the exception of a status other than RATECL_OK."""
    if status != lib.RATECL_OK:
        exception = _EXCEPTIONS[status - 1] if status <= len(_EXCEPTIONS) else Error
        raise exception(last_error())


def new(kind: str):
    """Return a zeroed struct whose size is set."""
    made = ffi.new(kind + ' *')
    made.size = ffi.sizeof(kind)
    return made


def initialised(kind: str):
    """Return a struct of options with their defaults."""
    made = ffi.new(kind + ' *')
    getattr(lib, kind + '_init_sized')(made, ffi.sizeof(kind))
    return made


def text(chars) -> str:
    """Return a C string."""
    return ffi.string(chars).decode(errors='replace')
