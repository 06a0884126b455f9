# SPDX-License-Identifier: Apache-2.0
"""Evaluation in the buffers of PyOpenCL, on their own queue, without copying and without waiting.

    context = ratecl.opencl.context(queue)
    plan = ratecl.Plan(['firing_rate', 'entropy'], gradients='states', context=context)
    pending = ratecl.opencl.enqueue(plan, states, gradients={'states': gradient}, wait_for=[event])
    pending.event           # complete when values and gradients are there
    pending.wait().total    # waits for that
"""
from __future__ import annotations

import typing

import numpy
import pyopencl

from . import _arrays, _plans
from ._library import check, ffi, initialised, lib, new

if not hasattr(lib, 'ratecl_cl_context_create'):
    raise ImportError('ratecl was built without OpenCL')


class DeviceArray(typing.NamedTuple):
    """A buffer and how its elements lie: strides in bytes, None for C order; offset in bytes."""

    buffer: pyopencl.Buffer
    shape: tuple[int, ...]
    dtype: typing.Any = 'f4'
    strides: typing.Optional[tuple[int, ...]] = None
    offset: int = 0


DeviceArrayLike = typing.Any
"""A pyopencl.array.Array or a DeviceArray."""


class _Context(_plans.Context):
    def __init__(self, queue: pyopencl.CommandQueue) -> None:
        handle = ffi.new('ratecl_context **')
        options = initialised('ratecl_context_options')
        check(lib.ratecl_cl_context_create(ffi.cast('cl_context', queue.context.int_ptr),
                                           ffi.cast('cl_device_id', queue.device.int_ptr),
                                           ffi.cast('cl_command_queue', queue.int_ptr), options, handle))
        self._own(handle[0])


def context(queue: pyopencl.CommandQueue) -> _plans.Context:
    """Return a context on a queue of PyOpenCL's, in order or out of order: all work of its plans goes there."""
    return _Context(queue)


class _Placed(typing.NamedTuple):
    """Where an array lies in a buffer."""

    buffer: typing.Any
    layout: typing.Any
    key: tuple
    owner: typing.Any  # the pyopencl.array.Array, or None


def _place(given: DeviceArrayLike, name: str, matrix: bool = False) -> _Placed:
    if hasattr(given, 'base_data'):
        array = DeviceArray(given.base_data, given.shape, given.dtype, given.strides, given.offset)
        owner = given
    elif isinstance(given, DeviceArray):
        array, owner = given, None
    else:
        raise TypeError(f'{name} is of type {type(given).__name__}: expected a pyopencl.array.Array or a DeviceArray')
    dtype = numpy.dtype(array.dtype)
    if dtype not in _arrays.ELEMENTS:
        raise TypeError(f'{name} has elements of type {dtype}: expected f32, f64, f16 or u8')
    strides = array.strides or _c_strides(array.shape, dtype.itemsize)
    shape, strides = tuple(array.shape), tuple(strides)
    if len(shape) != 2 and (matrix or len(shape) != 3):
        raise ValueError(f'{name} has the shape {shape}: expected ' + ('(N, N)' if matrix else '(B, T, N) or (T, N)'))
    if len(shape) == 2:
        shape, strides = (1, *shape), (shape[0] * strides[0], *strides)
    if any(stride % dtype.itemsize for stride in strides):
        raise ValueError(f'{name} has the strides {strides}: expected multiples of {dtype.itemsize} bytes')
    layout = _arrays.layout_of(dtype, shape, strides, array.offset)
    return _Placed(array.buffer, layout, (dtype.str, shape, strides, array.offset), owner)


def _c_strides(shape: typing.Sequence[int], itemsize: int) -> tuple[int, ...]:
    strides = [itemsize]
    for n in reversed(shape[1:]):
        strides.insert(0, strides[0] * n)
    return tuple(strides)


class Pending:
    """An evaluation that was enqueued. A plan holds one: enqueueing the next gives up the results of this one."""

    def __init__(self, compiled: _plans.Compiled, event: pyopencl.Event, serial: int,
                 gradients: dict[str, typing.Any]) -> None:
        self._compiled, self.event, self._serial, self._gradients = compiled, event, serial, gradients
        self._result: typing.Optional[_plans.Result] = None

    def wait(self) -> _plans.Result:
        """Wait for the evaluation and return its values; `gradients` are the caller's arrays.

        Raises DomainError, DeviceError, OutOfMemoryError; RuntimeError where a later evaluation of the plan, with arrays
        of the same layout, has taken its place."""
        with self._compiled.lock:
            if self._result is None:
                if self._compiled.serial != self._serial:
                    raise RuntimeError('a later evaluation of this plan was enqueued: its results have taken the place of '
                                       'these, which can still be had in a buffer for values')
                check(lib.ratecl_cl_wait(self._compiled.handle, self._compiled.outputs))
                self._result = self._compiled.result(self._gradients)
            return self._result


def enqueue(plan: _plans.Plan, states: DeviceArrayLike, reference: typing.Optional[DeviceArrayLike] = None,
            weights: typing.Optional[DeviceArrayLike] = None, *,
            gradients: typing.Optional[typing.Mapping[str, DeviceArrayLike]] = None,
            values: typing.Optional[pyopencl.Buffer] = None, scale: typing.Optional[pyopencl.Buffer] = None,
            cotangents: typing.Optional[pyopencl.Buffer] = None,
            wait_for: typing.Iterable[pyopencl.Event] = ()) -> Pending:
    """Enqueue an evaluation of `plan`, which belongs to a context() of the arrays' queue, and return at once.

    states, reference, weights: arrays on the device, read in place; they must not be written before `event` is complete.
    gradients: an array of f32 or f64 for each of the plan's gradients, of the input's shape.
    values: a buffer that receives all values and the total, as reals of the plan's precision.
    scale, cotangents: buffers of such reals, as in Plan.__call__.
    wait_for: events that come first; those of pyopencl arrays do as well.

    Raises ArgumentError, UnsupportedError, BuildError, DeviceError, OutOfMemoryError.
    """
    given = {'states': states, 'reference': reference, 'weights': weights}
    inputs = {name: _place(array, name, name == 'weights') for name, array in given.items() if array is not None}
    written = {name: _place(array, f'gradients[{name!r}]', name == 'weights') for name, array in (gradients or {}).items()}
    if set(written) != set(plan.gradients):
        raise ValueError(f'gradients has {sorted(written)}: expected {sorted(plan.gradients)}')
    element = numpy.dtype(inputs['states'].key[0])
    precision = plan.precision or _plans.precision_for(element, plan.context)
    key = tuple((name, placed.key) for named in (inputs, written) for name, placed in named.items())
    compiled = plan.compiled(('opencl', key), {name: p.layout for name, p in inputs.items()},
                             {name: p.layout for name, p in written.items()}, precision)
    owners = [p.owner for named in (inputs, written) for p in named.values() if p.owner is not None]
    events = [*wait_for, *(event for owner in owners for event in owner.events)]
    event, serial = _enqueue(compiled, inputs, written, {'scale': scale, 'cotangents': cotangents}, values, events)
    for owner in owners:
        # PyOpenCL waits for old events where there are many.
        complete = pyopencl.command_execution_status.COMPLETE
        owner.events[:] = [old for old in owner.events if old.command_execution_status != complete]
        owner.add_event(event)
    return Pending(compiled, event, serial, dict(gradients or {}))


def _memory(buffer: typing.Optional[pyopencl.MemoryObjectHolder]):
    return ffi.NULL if buffer is None else ffi.cast('cl_mem', buffer.int_ptr)


def _enqueue(compiled, inputs, written, extra, values, events) -> tuple[pyopencl.Event, int]:
    sources, sinks = new('ratecl_cl_inputs'), new('ratecl_cl_outputs')
    for name, placed in inputs.items():
        setattr(sources, name, _memory(placed.buffer))
    for name, buffer in extra.items():
        setattr(sources, name, _memory(buffer))
    sinks.values = _memory(values)
    for name, placed in written.items():
        setattr(sinks, f'gradient_{name}', _memory(placed.buffer))
    waits = ffi.new('cl_event[]', [ffi.cast('cl_event', event.int_ptr) for event in events] or 1)
    done = ffi.new('cl_event *')
    with compiled.lock:
        compiled.serial += 1
        check(lib.ratecl_cl_enqueue(compiled.handle, sources, sinks, len(events), waits if events else ffi.NULL, done))
        serial = compiled.serial
    return pyopencl.Event.from_int_ptr(int(ffi.cast('intptr_t', done[0])), retain=False), serial
