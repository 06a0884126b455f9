# SPDX-License-Identifier: Apache-2.0
"""Evaluation in PyOpenCL's buffers."""
import pathlib
import subprocess
import sys

import numpy as np
import pytest

cl = pytest.importorskip('pyopencl')
import pyopencl.array  # noqa: E402

import ratecl  # noqa: E402
import ratecl.opencl  # noqa: E402


def _devices():
    try:
        return [device for platform in cl.get_platforms() for device in platform.get_devices()
                if 'llvmpipe' not in device.name and 'Oclgrind' not in device.name]
    except cl.LogicError:  # no platform
        return []


@pytest.fixture(params=['in order', 'out of order'])
def queue(request):
    found = _devices()
    if not found:
        pytest.skip('no OpenCL device')
    flags = cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE if request.param == 'out of order' else 0
    return cl.CommandQueue(cl.Context([found[0]]), properties=flags)


TERMS = ['firing_rate', 'firing_rate_dist', 'state_prediction', 'hebbian', 'entropy', 'population_kl']


def test_arrays(queue, random):
    states, reference = random.random((2, 40, 6)).astype('f4'), random.random((3, 30, 6)).astype('f4')
    weights = random.standard_normal((6, 6)).astype('f4')
    gradients = ('states', 'reference', 'weights')
    expected = ratecl.Plan(TERMS, gradients=gradients, context=ratecl.Context('cpu'))(states, reference, weights)
    plan = ratecl.Plan(TERMS, gradients=gradients, context=ratecl.opencl.context(queue))
    given = [cl.array.to_device(queue, array) for array in (states, reference, weights)]
    written = {name: cl.array.empty(queue, array.shape, 'f4') for name, array in zip(gradients, given)}
    values = cl.array.empty(queue, len(TERMS) + 1, 'f4')
    pending = ratecl.opencl.enqueue(plan, *given, gradients=written, values=values.data)
    result = pending.wait()
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-5)
    for name in gradients:
        assert result.gradients[name] is written[name]
        np.testing.assert_allclose(written[name].get(), expected.gradients[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values.get(), [*expected.values, expected.total], rtol=1e-5)


def test_buffers_with_offset_and_strides(queue, random):
    memory = random.random(400).astype('f4')
    buffer = cl.Buffer(queue.context, cl.mem_flags.COPY_HOST_PTR, hostbuf=memory)
    states = np.lib.stride_tricks.as_strided(memory[10:], (2, 9, 5), (4, 8 * 4, 80 * 4 // 5 * 1))
    placed = ratecl.opencl.DeviceArray(buffer, states.shape, 'f4', states.strides, 40)
    plan = ratecl.Plan('firing_rate', context=ratecl.opencl.context(queue))
    assert ratecl.opencl.enqueue(plan, placed).wait().total == pytest.approx(ratecl.firing_rate(states), rel=1e-6)


def test_events(queue, random):
    """An evaluation waits for the events it is given, and what is enqueued behind its own sees the gradient."""
    states = random.random((2, 40, 6)).astype('f4')
    buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, states.nbytes)
    out = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, states.nbytes)
    sent = cl.enqueue_copy(queue, buffer, states, is_blocking=False)
    plan = ratecl.Plan('state_prediction', gradients='states', context=ratecl.opencl.context(queue))
    pending = ratecl.opencl.enqueue(plan, ratecl.opencl.DeviceArray(buffer, states.shape),
                                    gradients={'states': ratecl.opencl.DeviceArray(out, states.shape)}, wait_for=[sent])
    gradient = np.empty_like(states)
    cl.enqueue_copy(queue, gradient, out, wait_for=[pending.event])
    expected = ratecl.Plan('state_prediction', gradients='states', context=ratecl.Context('cpu'))(states)
    np.testing.assert_allclose(gradient, expected.gradients['states'], rtol=1e-5, atol=1e-9)
    assert pending.wait().total == pytest.approx(expected.total, rel=1e-6)


def test_a_later_evaluation_takes_the_place(queue, random):
    plan = ratecl.Plan('firing_rate', context=ratecl.opencl.context(queue))
    arrays = [cl.array.to_device(queue, random.random((9, 5)).astype('f4')) for _ in range(2)]
    first, second = (ratecl.opencl.enqueue(plan, array) for array in arrays)
    with pytest.raises(RuntimeError, match='a later evaluation'):
        first.wait()
    assert second.wait().total == pytest.approx(ratecl.firing_rate(arrays[1].get()), rel=1e-6)
    assert second.wait() is second.wait()


def test_errors(queue):
    plan = ratecl.Plan('entropy', context=ratecl.opencl.context(queue))
    negative = cl.array.to_device(queue, np.full((3, 4), -1, 'f4'))
    with pytest.raises(ratecl.DomainError, match=r'12 of 12 elements are negative, the first at \[0,0,0\]'):
        ratecl.opencl.enqueue(plan, negative).wait()
    with pytest.raises(TypeError, match='expected a pyopencl.array.Array or a DeviceArray'):
        ratecl.opencl.enqueue(plan, np.ones((3, 4), 'f4'))
    with pytest.raises(ratecl.ArgumentError, match='states'):
        buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 16)
        ratecl.opencl.enqueue(plan, ratecl.opencl.DeviceArray(buffer, (3, 4)))
    with pytest.raises(ValueError, match="expected \\['states'\\]"):
        with_gradient = ratecl.Plan('entropy', gradients='states', context=plan.context)
        ratecl.opencl.enqueue(with_gradient, negative)


def test_example():
    """The example trains its network: nothing in it waits but to print."""
    found = _devices()
    if not found:
        pytest.skip('no OpenCL device')
    script = pathlib.Path(__file__).parents[2] / 'examples' / 'train_pyopencl.py'
    shown = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    losses = [float(line.split()[1]) for line in shown.splitlines()[1:]]
    assert len(losses) == 6 and losses[-1] < 0.1 * losses[0]
