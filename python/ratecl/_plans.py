# SPDX-License-Identifier: Apache-2.0
"""Devices, contexts, and plans that evaluate terms on host memory."""
from __future__ import annotations

import collections
import os
import threading
import typing
import warnings
import weakref

import numpy

from . import _arrays, _terms
from ._arrays import ArrayLike
from ._library import check, ffi, initialised, lib, new, text
from ._terms import Term, TermLike

INPUTS = ('states', 'reference', 'weights')
_OUTPUT_BITS = {'states': lib.RATECL_OUTPUT_GRADIENT_STATES, 'reference': lib.RATECL_OUTPUT_GRADIENT_REFERENCE,
                'weights': lib.RATECL_OUTPUT_GRADIENT_WEIGHTS}
_PRECISIONS = {'f32': lib.RATECL_PRECISION_F32, 'f64': lib.RATECL_PRECISION_F64}
_REALS = {'f32': numpy.dtype('f4'), 'f64': numpy.dtype('f8')}
_KINDS = {lib.RATECL_DEVICE_GPU: 'GPU', lib.RATECL_DEVICE_ACCELERATOR: 'accelerator', lib.RATECL_DEVICE_CPU: 'CPU',
          lib.RATECL_DEVICE_SOFTWARE: 'software', lib.RATECL_DEVICE_OPENMP: 'OpenMP'}


# ---- Devices ----


class Device(typing.NamedTuple):
    """A device. `id` is what `Context(device)` takes; memory and largest_buffer are bytes, 0 where unknown; `note` says
    which OpenCL driver failed, where one did."""

    id: str
    name: str
    platform: str
    version: str
    kind: str
    fp64: bool
    chosen: bool
    compute_units: int
    memory: int
    largest_buffer: int
    note: str


def _device_of(info) -> Device:
    return Device(text(info.id), text(info.name), text(info.platform), text(info.version), _KINDS[info.kind],
                  bool(info.fp64), bool(info.chosen), info.compute_units, info.memory, info.largest_buffer,
                  text(info.note))


def devices() -> list[Device]:
    """Return all devices; the OpenMP path is the last one. `chosen` marks the one that Context() takes."""
    found = []
    for index in range(lib.ratecl_device_count()):
        info = new('ratecl_device_info')
        check(lib.ratecl_device_get(index, info))
        found.append(_device_of(info))
    return found


class Context:
    """A device, its queue and its compiled programs. Threads may share one.

    device: 'cpu' (the OpenMP path), 'opencl' (the best device), 'opencl:TEXT' (the first whose name or platform
    contains TEXT), 'opencl:P.D'; None: the environment's RATECL_DEVICE if set, else the best device.
    threads: of the OpenMP path; 0: what OpenMP gives.

    Raises NoDeviceError, ArgumentError, OutOfMemoryError, DeviceError.
    """

    def __init__(self, device: typing.Optional[str] = None, *, threads: int = 0) -> None:
        options = initialised('ratecl_context_options')
        name = ffi.new('char[]', device.encode()) if device is not None else ffi.NULL
        options.device, options.threads = name, threads
        handle = ffi.new('ratecl_context **')
        check(lib.ratecl_context_create(options, handle))
        self._own(handle[0])

    def _own(self, handle) -> None:
        self._handle = handle
        self._process = os.getpid()
        info = new('ratecl_device_info')
        check(lib.ratecl_context_device(handle, info))
        self.device: Device = _device_of(info)
        if self.device.note:
            warnings.warn(f'ratecl: {self.device.note}', RuntimeWarning, stacklevel=3)

    def __del__(self) -> None:
        if getattr(self, '_process', None) == os.getpid():  # what a fork copied stays the parent's
            lib.ratecl_context_release(self._handle)

    def __repr__(self) -> str:
        return f'Context({self.device.id!r})  # {self.device.name}'


_default: typing.Optional[Context] = None
_default_lock = threading.Lock()


_plans: weakref.WeakSet[Plan] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Forget the parent's default context, and locks that another of its threads may have held.

    OpenCL drivers do not survive a fork. The child's own default context is then one of the CPU path, and warns."""
    global _default, _default_lock
    _default, _default_lock = None, threading.Lock()
    for plan in list(_plans):
        plan._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def default_context() -> Context:
    """Return the context of calls that name none, made by the first of them."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context()
        return _default


# ---- Plans ----


class Result(typing.NamedTuple):
    """What an evaluation gives. `float(result)` is the total.

    values: unweighted, in the order of the terms; an array of N for reduction none.
    total: the sum of weight x value over the terms that give one number.
    skipped: for each term, how many neurons `degenerate='skip'` left out.
    gradients: by input; each of the input's shape.
    """

    values: list[typing.Union[float, numpy.ndarray]]
    total: float
    skipped: list[int]
    gradients: dict[str, numpy.ndarray]

    def __float__(self) -> float:
        return self.total


def precision_for(element: numpy.dtype, context: Context) -> str:
    """Return 'f64' for f64 states on a device that has it, else 'f32'."""
    return 'f64' if element == numpy.dtype('f8') and context.device.fp64 else 'f32'


class Compiled:
    """A plan of the C library, for inputs and gradients of certain layouts."""

    def __init__(self, context: Context, terms: typing.Sequence[Term], layouts: dict[str, typing.Any],
                 gradients: dict[str, typing.Any], precision: str, accumulate: bool = False) -> None:
        self._context, self._process = context, os.getpid()
        self.lock = threading.Lock()
        self.serial = 0  # of the evaluation that was enqueued last
        options = initialised('ratecl_plan_options')
        options.precision = _PRECISIONS[precision]
        array = _terms.array_of(terms)
        options.terms, options.term_count = array, len(terms)
        for name, layout in layouts.items():
            setattr(options, name, layout)
        for name, layout in gradients.items():
            options.outputs |= _OUTPUT_BITS[name]
            setattr(options, f'gradient_{name}', layout)
            if accumulate:
                options.accumulate |= _OUTPUT_BITS[name]
        handle = ffi.new('ratecl_plan **')
        check(lib.ratecl_plan_create(context._handle, options, handle))
        self.handle = handle[0]
        self._indices = [lib.ratecl_plan_value_index(self.handle, k) for k in range(len(terms) + 1)]
        self._vectors = [term.is_vector for term in terms]
        self._prepare(len(terms))

    def _prepare(self, term_count: int) -> None:
        self.inputs, self.outputs = new('ratecl_inputs'), new('ratecl_outputs')
        self._values = ffi.new('double[]', self._indices[-1])
        self._total = ffi.new('double *')
        self._skipped = ffi.new('int64_t[]', term_count)
        self._scale = ffi.new('double *', 1.0)
        self.outputs.values, self.outputs.value_count = self._values, self._indices[-1]
        self.outputs.total = self._total
        self.outputs.skipped, self.outputs.skipped_count = self._skipped, term_count
        self.inputs.scale = self._scale

    def __del__(self) -> None:
        if hasattr(self, 'handle') and self._process == os.getpid():
            lib.ratecl_plan_release(self.handle)

    def result(self, gradients: dict[str, typing.Any]) -> Result:
        """Return what the last evaluation has left in the outputs."""
        values: list[typing.Union[float, numpy.ndarray]] = []
        for k, vector in enumerate(self._vectors):
            begin, end = self._indices[k], self._indices[k + 1]
            values.append(numpy.array(ffi.unpack(self._values + begin, end - begin)) if vector else self._values[begin])
        return Result(values, self._total[0], list(self._skipped), gradients)

    def evaluate(self, inputs: dict[str, _arrays.Memory], gradients: dict[str, _arrays.Memory], scale: float,
                 cotangents: typing.Optional[numpy.ndarray]) -> Result:
        """Evaluate, one thread at a time."""
        with self.lock:
            for name, memory in inputs.items():
                setattr(self.inputs, name, memory.pointer)
                setattr(self.inputs, f'{name}_bytes', memory.size)
            for name, memory in gradients.items():
                setattr(self.outputs, f'gradient_{name}', memory.pointer)
                setattr(self.outputs, f'gradient_{name}_bytes', memory.size)
            self._scale[0] = scale
            self.inputs.cotangents = ffi.NULL if cotangents is None else ffi.cast('double *', cotangents.ctypes.data)
            self.inputs.cotangent_count = 0 if cotangents is None else cotangents.size
            check(lib.ratecl_evaluate(self.handle, self.inputs, self.outputs))
            return self.result({name: memory.array for name, memory in gradients.items()})


class Plan:
    """Terms that are evaluated together, in one read of the states, again and again.

        plan = ratecl.Plan(['firing_rate', 'entropy:reg=0'], gradients='states')
        result = plan(states)
        result.total, result.values, result.gradients['states']

    terms: a Term, a text such as 'entropy:reg=0', or several.
    gradients: of the weighted total, by 'states', 'reference', 'weights', or several of these.
    precision: of the arithmetic, 'f32' or 'f64'; None: f64 for f64 states where the device has it, else f32.
    context: the device; None: default_context().
    accumulate: gradients are added to what `out` holds.

    A plan compiles when it meets the first arrays of a shape, type and strides, and keeps the latest `KEPT` of those.
    Several threads may call one; calls of equal layouts take turns.
    """

    KEPT = 16

    def __init__(self, terms: typing.Union[TermLike, typing.Iterable[TermLike]], *,
                 gradients: typing.Union[str, typing.Iterable[str]] = (), precision: typing.Optional[str] = None,
                 context: typing.Optional[Context] = None, accumulate: bool = False) -> None:
        self.terms = _terms.terms_of(terms)
        self.gradients = (gradients,) if isinstance(gradients, str) else tuple(gradients)
        for name in self.gradients:
            if name not in INPUTS:
                raise ValueError(f'gradients has {name!r}: expected some of {INPUTS}')
        if precision not in (None, *_PRECISIONS):
            raise ValueError(f'precision is {precision!r}: expected "f32", "f64" or None')
        self.precision, self.accumulate = precision, accumulate
        self._context = context
        self._compiled: collections.OrderedDict[typing.Any, Compiled] = collections.OrderedDict()
        self._lock = threading.Lock()
        _plans.add(self)

    def _after_fork(self) -> None:
        """Let go of what the parent has compiled, which stays the parent's."""
        self._lock = threading.Lock()
        self._compiled = collections.OrderedDict()

    def __reduce__(self):
        if self._context is not None:
            raise TypeError('a plan with a context of its own cannot be pickled or copied')
        return _plan_of, (self.terms, self.gradients, self.precision, self.accumulate)

    @property
    def context(self) -> Context:
        """The context that the plan evaluates in."""
        return self._context or default_context()

    def compiled(self, key: tuple, layouts: dict[str, typing.Any], gradients: dict[str, typing.Any],
                 precision: str) -> Compiled:
        """Return the C library's plan for `key`, which tells layouts, gradients and precision apart."""
        context = self.context
        whole_key = (id(context), os.getpid(), precision, key)
        with self._lock:
            found = self._compiled.get(whole_key)
            if found is None:
                found = Compiled(context, self.terms, layouts, gradients, precision, self.accumulate)
                self._compiled[whole_key] = found
                if len(self._compiled) > self.KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(whole_key)
            return found

    def _cotangents(self, given: typing.Any, N: int) -> typing.Optional[numpy.ndarray]:
        """Return (n, N) doubles, n the number of terms that give a vector."""
        if given is None:
            return None
        count = sum(term.is_vector for term in self.terms)
        array = numpy.ascontiguousarray(given, dtype='f8')
        if array.size != count * N:
            raise ValueError(f'cotangents has the shape {array.shape}: expected ({count}, {N}), a row for each term '
                             'with reduction none')
        return array

    def __call__(self, states: ArrayLike, reference: typing.Optional[ArrayLike] = None,
                 weights: typing.Optional[ArrayLike] = None, *, scale: float = 1.0,
                 cotangents: typing.Optional[ArrayLike] = None,
                 out: typing.Optional[typing.Mapping[str, numpy.ndarray]] = None) -> Result:
        """Evaluate on arrays in host memory.

        states: (B, T, N) or (T, N), of f32, f64, f16, u8 or bool with any strides, read in place; other numbers are
            converted. Whatever NumPy can look into is taken.
        reference: the same, needed by population_kl; its own B and T, the same N.
        weights: (N, N), needed by hebbian.
        scale: a factor of the gradients.
        cotangents: (n, N), the weights u of the n terms with reduction none: sum_i u_i value_i joins the total of which
            the gradient is taken.
        out: arrays for gradients, f32 or f64 of the input's shape and any strides; without it they are new ones.

        Raises ArgumentError, DomainError (the message says which element), UnsupportedError, BuildError, DeviceError,
        OutOfMemoryError; ValueError and TypeError for arrays that have no layout.
        """
        given = {'states': states, 'reference': reference, 'weights': weights}
        if states is None:
            raise ValueError('states is None: expected an array')
        if set(out or {}) - set(self.gradients):
            raise ValueError(f'out has {sorted(out or {})}: expected some of {self.gradients}, the gradients of this plan')
        fp64 = self.context.device.fp64
        memories = {name: _arrays.memory_of(_arrays.as_array(values, name, matrix=name == 'weights', fp64=fp64))
                    for name, values in given.items() if values is not None}
        precision = self.precision or precision_for(memories['states'].array.dtype, self.context)
        gradients = {name: self._gradient(name, given, memories, precision, out) for name in self.gradients}
        key = (tuple((name, m.key) for name, m in memories.items()), tuple((name, g.key) for name, g in gradients.items()))
        compiled = self.compiled(key, {name: m.layout for name, m in memories.items()},
                                 {name: g.layout for name, g in gradients.items()}, precision)
        N = memories['states'].array.shape[2]
        result = compiled.evaluate(memories, gradients, float(scale), self._cotangents(cotangents, N))
        shapes = {name: numpy.shape(given[name]) for name in self.gradients}
        return result._replace(gradients={name: (out or {}).get(name, gradient.reshape(shapes[name])
                                                                if gradient.shape != shapes[name] else gradient)
                                          for name, gradient in result.gradients.items()})

    def _gradient(self, name: str, given: dict[str, typing.Any], memories: dict[str, _arrays.Memory], precision: str,
                  out: typing.Optional[typing.Mapping[str, typing.Any]]) -> _arrays.Memory:
        """Return the memory that receives the gradient of an input."""
        if name not in memories:
            raise ValueError(f'{name} is None: this plan requires it for its gradient')
        shape = memories[name].array.shape
        array = (out or {}).get(name)
        if array is None and self.accumulate:
            raise ValueError(f'out[{name!r}] is missing: a plan that accumulates adds to what it holds')
        if array is None:
            return _arrays.memory_of(numpy.empty(shape, _REALS[precision]))
        if not isinstance(array, numpy.ndarray) or array.dtype not in _REALS.values() or not array.flags.writeable:
            raise TypeError(f'out[{name!r}] is no writeable NumPy array of f32 or f64')
        whole = array[None] if array.ndim == 2 else array
        if whole.shape != shape:
            raise ValueError(f'out[{name!r}] has the shape {array.shape}: expected {numpy.shape(given[name])}')
        if not _arrays.is_aligned(whole):
            raise ValueError(f'out[{name!r}] has the strides {array.strides}: expected aligned memory, and multiples of '
                             f'{whole.itemsize} bytes')
        return _arrays.memory_of(whole)


def _plan_of(terms: list[Term], gradients: tuple[str, ...], precision: typing.Optional[str], accumulate: bool) -> Plan:
    """Return a plan, as unpickling makes it."""
    return Plan(terms, gradients=gradients, precision=precision, accumulate=accumulate)
