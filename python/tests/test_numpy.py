# SPDX-License-Identifier: Apache-2.0
"""Values and gradients of NumPy arrays, as they lie in memory."""
import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import definitions
import ratecl

CASES = [('firing_rate', {}), ('firing_rate', {'metric': 'l1', 'target': 0.4}), ('firing_rate_dist', {}),
         ('firing_rate_dist', {'metric': 'cv', 'ddof': 1}), ('firing_rate_dist', {'metric': 'mean_ad'}),
         ('firing_rate_dist', {'metric': 'max_ad'}), ('state_prediction', {}), ('state_prediction', {'tau': 3}),
         ('hebbian', {}), ('hebbian', {'over': 'step'}), ('entropy', {}), ('entropy', {'reg': 0.0, 'eps': 1e-8}),
         ('population_kl', {}), ('population_kl', {'symmetric': False, 'reduction': 'sum'}),
         ('population_kl', {'reduction': 'none'})]
TOLERANCE = {'f4': 3e-6, 'f8': 1e-12}


def others(criterion, random, N, dtype):
    if criterion == 'hebbian':
        return (random.standard_normal((N, N)).astype(dtype),)
    return (random.random((2, 30, N)).astype(dtype),) if criterion == 'population_kl' else ()


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
@pytest.mark.parametrize('criterion,parameters', CASES)
def test_functions(default, random, criterion, parameters, dtype):
    states = random.random((3, 20, 7)).astype(dtype)
    more = others(criterion, random, 7, dtype)
    expected = getattr(definitions, criterion)(states, *more, **parameters)
    value = getattr(ratecl, criterion)(states, *more, **parameters)
    np.testing.assert_allclose(value, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


VIEWS = {
    'reversed': lambda x: x[::-1, ::-2, ::-1], 'time first': lambda x: x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    'neuron first': lambda x: x.transpose(2, 1, 0).copy().transpose(2, 1, 0), 'fortran': np.asfortranarray,
    'repeated': lambda x: np.broadcast_to(x[:1], x.shape), 'two axes': lambda x: x[0], 'one trial': lambda x: x[1:2, 2:],
    'big-endian': lambda x: x.astype('>f4'), 'halves': lambda x: x.astype('f2'), 'not aligned': lambda x: unaligned(x),
    'counts': lambda x: (9 * x).astype('u1'), 'i4': lambda x: (9 * x).astype('i4'), 'u8': lambda x: (9 * x).astype('u8'),
    'i2': lambda x: (9 * x).astype('i2'), 'bool': lambda x: x > 0.5, 'one neuron': lambda x: x[:, :, 3:4],
    'bytes of bool': lambda x: (9 * x).astype('u1').view(bool),
}


def unaligned(x):
    records = np.zeros(x.shape, np.dtype([('tag', 'u1'), ('x', x.dtype)]))
    records['x'] = x
    return records['x']


@pytest.mark.parametrize('name', VIEWS)
def test_views(default, random, name):
    states = VIEWS[name](random.random((3, 20, 7)).astype('f4'))
    whole = np.atleast_3d(states.astype('f8')) if states.ndim == 3 else states[None].astype('f8')
    if states.dtype == bool:
        whole = (states.view('u1') != 0).astype('f8')
        whole = whole if whole.ndim == 3 else whole[None]
    plan = ratecl.Plan(['firing_rate', 'state_prediction'], gradients='states')
    result = plan(states)
    expected = definitions.firing_rate(whole) + definitions.state_prediction(whole)
    assert result.total == pytest.approx(expected, rel=1e-5)
    assert result.gradients['states'].shape == states.shape
    contiguous = plan(np.ascontiguousarray(whole, 'f4'))
    np.testing.assert_allclose(result.gradients['states'].reshape(whole.shape), contiguous.gradients['states'], rtol=1e-4,
                               atol=1e-7)


def test_reads_in_place(random):
    """What is read in place costs no copy: the address that the library gets is the array's."""
    from ratecl import _arrays
    states = random.random((3, 20, 7)).astype('f4')[:, ::-1]
    memory = _arrays.memory_of(_arrays.as_array(states, 'states'))
    assert memory.array is states
    assert int(_arrays.ffi.cast('intptr_t', memory.pointer)) == states[:, ::-1].__array_interface__['data'][0]


def test_dlpack_and_lists(default):
    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    assert ratecl.firing_rate([[0, 1], [2, 3]]) == 2.5
    assert ratecl.firing_rate(OnlyDlpack(np.array([[0, 1], [2, 3]], 'f4'))) == 2.5


def test_gradients(default, random):
    states, reference = random.random((2, 9, 5)), random.random((3, 8, 5))
    weights = random.standard_normal((5, 5))
    terms = ['firing_rate', 'firing_rate_dist', 'state_prediction:tau=2', 'hebbian', 'entropy', 'population_kl']
    plan = ratecl.Plan(terms, gradients=('states', 'reference', 'weights'))
    result = plan(states, reference, weights, scale=2)
    for name, array in (('states', states), ('reference', reference), ('weights', weights)):
        flat = array.reshape(-1)
        for k in range(0, flat.size, 7):
            kept, h = flat[k], 1e-6
            flat[k] = kept + h
            above = plan(states, reference, weights).total
            flat[k] = kept - h
            below = plan(states, reference, weights).total
            flat[k] = kept
            assert result.gradients[name].reshape(-1)[k] == pytest.approx((above - below) / h, rel=1e-5, abs=1e-8)


def test_out_and_accumulate(default, random):
    states = random.random((2, 9, 5)).astype('f4')
    expected = ratecl.Plan('entropy', gradients='states')(states).gradients['states']
    out = np.ones((5, 9, 2), 'f8').T[:, ::-1]
    result = ratecl.Plan('entropy', gradients='states', accumulate=True)(states, out={'states': out})
    assert result.gradients['states'] is out
    np.testing.assert_allclose(out, 1 + expected, rtol=1e-6)


def test_refused_outputs(default, random):
    states = random.random((2, 9, 5)).astype('f4')
    plan = ratecl.Plan('entropy', gradients='states')
    records = np.zeros(states.shape, [('x', 'f4'), ('tag', 'u1')])
    for out, words in (({'states': records['x']}, 'strides'), ({'states': np.empty((2, 9, 4), 'f4')}, 'shape'),
                       ({'state': np.empty_like(states)}, 'expected some of')):
        with pytest.raises(ValueError, match=words):
            plan(states, out=out)
    assert not records['tag'].any()
    with pytest.raises(TypeError, match='no writeable NumPy array'):
        plan(states, out={'states': np.empty(states.shape, 'i4')})
    with pytest.raises(ValueError, match='accumulates'):
        ratecl.Plan('entropy', gradients='states', accumulate=True)(states)


def test_wide_integers(default):
    """f64 holds some integers beyond 2^53, and not their neighbours."""
    assert ratecl.firing_rate(np.array([[2 ** 54]], 'u8'), metric='l1') == 2.0 ** 54
    for value, kind in ((2 ** 54 + 1, 'u8'), (2 ** 64 - 1, 'u8'), (-2 ** 60 - 1, 'i8'), (2 ** 63 - 1, 'i8')):
        with pytest.raises(ValueError, match='does not hold exactly'):
            ratecl.firing_rate(np.array([[value]], kind))


def test_copies(default, random):
    states = random.random((2, 9, 5))
    plan = ratecl.Plan(['entropy:reg=0', 'firing_rate'], gradients='states')
    for copied in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert copied.terms == plan.terms and copied(states).total == plan(states).total


def test_cotangents(default, random):
    states, reference, u = random.random((2, 9, 5)), random.random((3, 8, 5)), random.random(5)
    plan = ratecl.Plan('population_kl:reduction=none', gradients='states')
    result = plan(states, reference, cotangents=u)
    assert result.total == 0 and result.values[0].shape == (5,)
    one_at_a_time = sum(u[i] * plan(states, reference, cotangents=np.eye(5)[i]).gradients['states'] for i in range(5))
    np.testing.assert_allclose(result.gradients['states'], one_at_a_time, rtol=1e-9, atol=1e-15)
    with pytest.raises(ValueError, match=r'expected \(1, 5\)'):
        plan(states, reference, cotangents=np.ones(4))


def test_same_plan_for_the_same_layout(default, random):
    plan = ratecl.Plan('firing_rate')
    for k in range(3):
        plan(random.random((2, 9, 5)))
    assert len(plan._compiled) == 1
    for T in range(2, 2 + 2 * plan.KEPT):
        plan(random.random((2, T, 5)))
    assert len(plan._compiled) == plan.KEPT


ERRORS = [
    (ratecl.DomainError, r'2 of 4 elements are negative, the first at \[0,0,1\]', lambda: ratecl.entropy([[1., -1], [2, -3]])),
    (ratecl.ArgumentError, 'tau', lambda: ratecl.state_prediction([[1., 2], [3, 4]], tau=2)),
    (ratecl.ArgumentError, 'unknown criterion "entropi"', lambda: ratecl.Plan('entropi')),
    (ValueError, 'unknown criterion', lambda: ratecl.Term('entropi')),
    (ratecl.NoDeviceError, 'found', lambda: ratecl.Context('opencl:no such device')),
    (ValueError, r'states has the shape \(3,\): expected shape \(B, T, N\) or \(T, N\)', lambda: ratecl.firing_rate([1., 2, 3])),
    (TypeError, 'states has elements of type complex64', lambda: ratecl.firing_rate(np.ones((2, 2), 'c8'))),
    (ValueError, 'states is None', lambda: ratecl.firing_rate(None)),
    (ratecl.ArgumentError, 'weights is NULL', lambda: ratecl.Plan('hebbian')(np.ones((2, 2)))),
    (ValueError, "gradients has 'state'", lambda: ratecl.Plan('firing_rate', gradients='state')),
    (ValueError, 'precision', lambda: ratecl.Plan('firing_rate', precision='f16')),
]


@pytest.mark.parametrize('exception,words,call', ERRORS)
def test_errors(default, exception, words, call):
    with pytest.raises(exception, match=words):
        call()


def test_terms():
    term = ratecl.Term('population_kl', symmetric=False, reduction='none', weight=0.1)
    assert term.parameters['symmetric'] is False and term.weight == 0.1 and term.is_vector
    assert ratecl.Term(str(term)) == term
    assert ratecl.Term('entropy:reg=0', eps=1e-8) == ratecl.Term('entropy', reg=0, eps=1e-8)
    assert ratecl.Term('firing_rate', target=1 / 3).parameters['target'] == 1 / 3


def test_threads_share_a_plan(default, random):
    plan, given = ratecl.Plan(['firing_rate', 'entropy'], gradients='states'), [random.random((2, 50, 9)) for _ in range(4)]
    expected = [plan(states).total for states in given]
    seen = [[] for _ in given]

    def run(k):
        seen[k] = [plan(given[k]).total for _ in range(50)]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(set(seen[k]) == {expected[k]} for k in range(4))


def _evaluate_in_child(states, queue):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        value = ratecl.firing_rate(states)
    queue.put((value, ratecl.default_context().device.kind, [str(one.message) for one in seen]))


@pytest.mark.filterwarnings('ignore')
def test_after_a_fork(default, random, monkeypatch):
    monkeypatch.delenv('RATECL_DEVICE', raising=False)
    states = random.random((2, 50, 9))
    expected = ratecl.firing_rate(states)
    fork = multiprocessing.get_context('fork')
    queue = fork.Queue()
    child = fork.Process(target=_evaluate_in_child, args=(states, queue))
    child.start()
    value, kind, warned = queue.get(timeout=60)
    assert value == pytest.approx(expected, rel=1e-12) and kind == 'OpenMP'
    # The devices were listed, which uses the drivers, if there are any.
    assert any('fork' in one for one in warned) == any(device.kind != 'OpenMP' for device in ratecl.devices())
    child.join(60)
    assert child.exitcode == 0


def test_command():
    shown = subprocess.run([sys.executable, '-m', 'ratecl', '--version'], capture_output=True, text=True, check=True)
    assert ratecl.__version__ in shown.stdout
