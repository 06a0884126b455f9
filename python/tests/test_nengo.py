# SPDX-License-Identifier: Apache-2.0
"""The criteria in the buffers of a simulator, nengo-ocl: nothing is copied, and the simulator goes on with its queue."""
import numpy as np
import pytest

cl = pytest.importorskip('pyopencl')
nengo = pytest.importorskip('nengo')
nengo_ocl = pytest.importorskip('nengo_ocl')

import definitions  # noqa: E402
import ratecl  # noqa: E402
import ratecl.opencl  # noqa: E402

STEPS = 32
TERMS = ['firing_rate', 'firing_rate_dist', 'state_prediction', 'hebbian', 'entropy', 'population_kl:degenerate=skip']


def network():
    with nengo.Network(seed=1) as model:
        stimulus = nengo.Node(lambda t: np.sin(20 * t))
        first = nengo.Ensemble(60, 1, neuron_type=nengo.LIFRate(), intercepts=nengo.dists.Uniform(-1, -0.9))
        second = nengo.Ensemble(60, 1, neuron_type=nengo.LIFRate(), intercepts=nengo.dists.Uniform(-1, -0.9))
        nengo.Connection(stimulus, first)
        nengo.Connection(first, second)
        probes = nengo.Probe(first.neurons), nengo.Probe(second.neurons)
    return model, probes


def probe_buffer(simulator, probe):
    """Return the simulator's own buffer of the last steps, (STEPS, neurons)."""
    rows = simulator._cl_probe_plan.Y
    k = simulator.model.probes.index(probe)
    itemsize = rows.dtype.itemsize
    return ratecl.opencl.DeviceArray(rows.cl_buf.data, (int(rows.shape0s[k]), int(rows.shape1s[k])), rows.dtype,
                                     (int(rows.stride0s[k]) * itemsize, int(rows.stride1s[k]) * itemsize),
                                     int(rows.starts[k]) * itemsize)


def divergence(S, R):
    """Return population_kl without the neurons that are silent in a chunk."""
    varies = (S.var((0, 1)) > 0) & (R.var((0, 1)) > 0)
    squares = (S.astype('f8') ** 2).sum(-1).mean() + (R.astype('f8') ** 2).sum(-1).mean()
    return definitions.population_kl(S[:, :, varies], R[:, :, varies], reg=0) + 1e-3 * squares


@pytest.mark.filterwarnings('ignore')
def test_probes_in_place(random):
    devices = [d for p in cl.get_platforms() for d in p.get_devices() if 'Oclgrind' not in d.name and 'llvmpipe' not in d.name]
    if not devices:
        pytest.skip('no OpenCL device')
    model, (first, second) = network()
    with nengo_ocl.Simulator(model, context=cl.Context([devices[0]]), n_prealloc_probes=STEPS, progress_bar=False) as simulator:
        weights = random.standard_normal((60, 60)).astype('f4')
        on_device = cl.array.to_device(simulator.queue, weights)
        plan = ratecl.Plan(TERMS, context=ratecl.opencl.context(simulator.queue))
        for chunk in range(4):
            simulator.run_steps(STEPS)
            result = ratecl.opencl.enqueue(plan, probe_buffer(simulator, first), probe_buffer(simulator, second),
                                           on_device).wait()
            S, R = (simulator.data[probe][-STEPS:][None] for probe in (first, second))
            expected = [definitions.firing_rate(S), definitions.firing_rate_dist(S), definitions.state_prediction(S),
                        definitions.hebbian(S, weights), definitions.entropy(S), divergence(S, R)]
            assert S.shape == (1, STEPS, 60) and S.max() > 10  # hertz
            # What hebbian's sum of both signs is measured by
            forms = np.einsum('bti,ij,btj->b', S, np.abs(weights), S, dtype='f8').mean() / STEPS
            for value, right, magnitude in zip(result.values, expected, [0, 0, 0, forms, 0, 0]):
                assert value == pytest.approx(right, rel=2e-6, abs=1e-6 * magnitude)
