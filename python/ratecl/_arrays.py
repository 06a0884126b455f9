# SPDX-License-Identifier: Apache-2.0
"""Arrays as the library takes them: in place where it can read them, converted where it cannot."""
from __future__ import annotations

import typing

import numpy

from ._library import ffi, lib, new

ArrayLike = typing.Any
"""A NumPy array of any strides, or whatever NumPy can look into: DLPack, `__array_interface__`, lists."""

ELEMENTS = {numpy.dtype('f4'): lib.RATECL_F32, numpy.dtype('f8'): lib.RATECL_F64,
            numpy.dtype('f2'): lib.RATECL_F16, numpy.dtype('u1'): lib.RATECL_U8}
_EXACT_IN_F32 = ('i1', 'i2', 'u2')


def _view(values: ArrayLike) -> numpy.ndarray:
    """Return a NumPy array of the same memory, where the object offers that."""
    if isinstance(values, numpy.ndarray):
        return values
    if hasattr(values, '__dlpack__') and not hasattr(values, '__array_interface__'):
        return numpy.from_dlpack(values)
    return numpy.asarray(values)


def _exactly(array: numpy.ndarray, name: str) -> numpy.ndarray:
    """Return integers as f64, which must hold them exactly."""
    converted = array.astype('f8')
    # What rounds up to the range's end does not come back.
    inside = converted < 2.0 ** (63 if array.dtype.kind == 'i' else 64) if array.dtype.itemsize == 8 else True
    if not numpy.all(inside) or not numpy.array_equal(converted.astype(array.dtype), array):
        raise ValueError(f'{name} has an integer that f64 does not hold exactly, which is larger than 2**53')
    return converted


def _converted(array: numpy.ndarray, name: str, fp64: bool) -> numpy.ndarray:
    """Return an array of an element type that the device reads: the array itself where it is one."""
    if array.dtype in ELEMENTS and array.dtype.isnative and (fp64 or array.dtype.itemsize < 8):
        return array
    if array.dtype == bool:
        seen = array.view('u1')
        # NumPy counts every byte but 0 as true.
        return seen if seen.size == 0 or seen.max() <= 1 else (seen != 0).astype('u1')
    native = array.dtype.newbyteorder('=')
    if native == numpy.dtype('f8') and not fp64:
        return array.astype('f4')
    if native in ELEMENTS:
        return array.astype(native)
    if native.str[1:] in _EXACT_IN_F32:
        return array.astype('f4')
    if native.kind in 'iu':
        exact = _exactly(array.astype(native), name)
        return exact if fp64 else exact.astype('f4')
    raise TypeError(f'{name} has elements of type {array.dtype}: expected real numbers, integers or booleans')


def as_array(values: ArrayLike, name: str, matrix: bool = False, fp64: bool = True) -> numpy.ndarray:
    """Return an array of shape (B, T, N) that the library can read; a 2-D array is (T, N), or W where `matrix`.

    Without `fp64`, which tells whether the device has it, f64 and wide integers become f32."""
    array = _converted(_view(values), name, fp64)
    expected = 'shape (N, N)' if matrix else 'shape (B, T, N) or (T, N)'
    if array.ndim != 2 and (matrix or array.ndim != 3):
        raise ValueError(f'{name} has the shape {array.shape}: expected {expected}')
    if array.ndim == 2:
        array = array[None]
    return array if is_aligned(array) else array.copy()


def is_aligned(array: numpy.ndarray) -> bool:
    """False for a field of records, or memory at an odd address, which the library cannot address."""
    return not address(array) % array.itemsize and not any(stride % array.itemsize for stride in array.strides)


def address(array: numpy.ndarray) -> int:
    """Return the address of element [0, 0, 0]."""
    return array.__array_interface__['data'][0]


def _lowest(array: numpy.ndarray) -> int:
    """Return by how many bytes the element that lies first comes before [0, 0, 0]."""
    return sum(-stride * (n - 1) for n, stride in zip(array.shape, array.strides) if stride < 0)


def layout_of(dtype: numpy.dtype, shape, strides, offset: int = 0):
    """Return the ratecl_layout of elements with these strides, in bytes."""
    layout = new('ratecl_layout')
    layout.element = ELEMENTS[numpy.dtype(dtype)]
    layout.shape = tuple(shape)
    itemsize = numpy.dtype(dtype).itemsize
    # Strides that are all 0 mean C order to the library; where an axis has one element, its stride counts for nothing.
    steps = [stride // itemsize if n > 1 else 1 for n, stride in zip(shape, strides)]
    layout.strides = steps
    layout.offset = offset
    return layout


class Memory(typing.NamedTuple):
    """An array as the library takes it. `array` keeps the memory alive."""

    array: numpy.ndarray
    layout: typing.Any
    pointer: typing.Any
    size: int
    key: tuple  # what a plan depends on


def memory_of(array: numpy.ndarray) -> Memory:
    """Describe an array that as_array() has returned, or an output."""
    lowest = _lowest(array)
    layout = layout_of(array.dtype, array.shape, array.strides, lowest)
    size = lib.ratecl_layout_bytes(layout)
    pointer = ffi.cast('void *', address(array) - lowest)
    return Memory(array, layout, pointer, size, (array.dtype.str, array.shape, array.strides))
