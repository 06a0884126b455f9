# SPDX-License-Identifier: Apache-2.0
"""What PyTorch takes for the formulas of nn4n's criterion module, on the data and shapes of ratecl-bench.

    peers.py OURS.json OUT.json

OURS.json is what ratecl-bench --json wrote: it gives the shapes, and the values and gradients that are checked
before anything is timed. PyTorch runs eager, and by torch.compile where it has that.

Where ratecl was measured on a GPU and PyTorch finds a CUDA device, the formulas run on that device alone: in f32
without TF32, timed by CUDA events around an evaluation, which leave out the time until the host knows the value.
Compiling is limited to the lines of COMPILED_ON_CUDA and in time.

Elsewhere they run on the CPU. OpenBLAS chooses its kernels by the processor's name, not always the fastest: products
are timed with each of several choices, and the fastest whose results are right counts.

nn4n's defaults that cost the same are set to ratecl's: deviations divide by N, time is the lagged axis, and C_b
meets W as documented, once a trial (its own form, once a step, makes an array of (B, T, N, N)).
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import torch
except ImportError as missing:
    sys.exit(f'peers: {missing}: PyTorch is left out (Debian packages python3-torch and python3-numpy)')

THREADS = len(os.sched_getaffinity(0))
EPS = 1e-8


def firing_rate(S, **_):
    return (S.mean(dim=(0, 1)) ** 2).mean()


def firing_rate_dist(S, **_):
    return S.mean(dim=(0, 1)).std(unbiased=False)


def rates(S, **_):
    return firing_rate(S) + firing_rate_dist(S)


def state_prediction(S, **_):
    return ((S[:, 1:] - S[:, :-1]) ** 2).mean()


def entropy(S, **_):
    p = S / (S.sum(dim=-1, keepdim=True) + EPS)
    return -(p * torch.log(p + EPS)).sum(dim=-1).mean() + 10 * (S ** 2).sum(dim=-1).mean()


def population_kl(S, R, **_):
    m0, m1 = S.mean(dim=(0, 1)), R.mean(dim=(0, 1))
    v0, v1 = S.var(dim=(0, 1), unbiased=False), R.var(dim=(0, 1), unbiased=False)
    forward = 0.5 * (torch.log(v1 / v0) + (v0 + (m0 - m1) ** 2) / v1 - 1)
    backward = 0.5 * (torch.log(v0 / v1) + (v1 + (m0 - m1) ** 2) / v0 - 1)
    squares = (S ** 2).sum(dim=-1).mean() + (R ** 2).sum(dim=-1).mean()
    return (0.5 * (forward + backward)).mean() + 1e-3 * squares


def five(S, R, **_):
    return firing_rate(S) + firing_rate_dist(S) + state_prediction(S) + entropy(S) + population_kl(S, R)


def hebbian_bmm(S, W, **_):
    C = torch.bmm(S.transpose(1, 2), S) / S.shape[1]
    return (C * W).sum(dim=(1, 2)).abs().mean()


def hebbian_einsum(S, W, **_):
    C = torch.einsum('bti,btj->bij', S, S) / S.shape[1]
    return (C * W).sum(dim=(1, 2)).abs().mean()


def six(S, R, W, **_):
    return five(S, R) + hebbian_bmm(S, W)


# A line's name, the formulas that compute it, the inputs that they read, and those that get gradients.
SWEEPS = [(name, (formula,), 'SR', '') for name, formula in (
    ('firing_rate', firing_rate), ('firing_rate_dist', firing_rate_dist), ('rates', rates),
    ('state_prediction', state_prediction), ('entropy', entropy), ('population_kl', population_kl), ('five', five))]
SWEEPS += [(f'{name} + gradient', formulas, 'SR', 'S') for name, formulas, _, _ in SWEEPS]
PRODUCTS = [('hebbian', (hebbian_bmm, hebbian_einsum), 'SW', ''),
            ('hebbian + both gradients', (hebbian_bmm, hebbian_einsum), 'SW', 'SW')]
LARGE_PRODUCTS = [(f'{name}, B = 32', *rest) for name, *rest in PRODUCTS]
TINY = [('tiny six', (six,), 'SRW', ''), ('tiny six + both gradients', (six,), 'SRW', 'SW')]

COMPILED_ON_CUDA = 'rates', 'entropy', 'five', 'five + gradient'
COMPILE_SECONDS = 60


def random(count, seed, low, high):
    """The numbers that arrays.c makes."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9e3779b9 & 0xffffffff)
    for shift, factor in ((16, 0x7feb352d), (15, 0x846ca68b)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    return np.float32(low) + np.float32(high - low) * ((x >> np.uint32(8)).astype(np.float32) * np.float32(2 ** -24))


def tensor(shape, seed, low, high, device):
    return torch.from_numpy(random(int(np.prod(shape)), seed, low, high).reshape(shape)).to(device)


class Data:
    """S, R and W of a shape, kept for the tasks that follow with the same ones."""

    def __init__(self, device):
        self.device, self.key, self.tensors = device, None, {}

    def of(self, shape, inputs):
        if self.key != (shape, inputs):
            square = (shape[2], shape[2])
            arguments = {'S': (shape, 1, 0, 1), 'R': (shape, 2, 0, 2), 'W': (square, 3, -0.5, 1)}
            self.tensors = {}  # the old ones make room first
            self.key = shape, inputs
            self.tensors = {name: tensor(*arguments[name], self.device) if name in inputs else None for name in 'SRW'}
        return self.tensors


def run(formula, tensors, wanted):
    for name in wanted:
        tensors[name].grad = None
        tensors[name].requires_grad_(True)
    value = formula(**tensors)
    if wanted:
        value.backward()
    return value


def check(value, tensors, wanted, ours):
    found = [float(value)] + [float(tensors[name].grad.double().norm()) for name in wanted]
    expected = [sum(ours['values'])] + [ours['gradient_norms']['SW'.index(name)] for name in wanted]
    return all(abs(f - e) <= 1e-3 * abs(e) + 1e-7 for f, e in zip(found, expected)), found, expected


def time_on_cpu(formula, tensors, wanted):
    start = time.perf_counter()
    float(run(formula, tensors, wanted))
    return time.perf_counter() - start


def time_on_cuda(formula, tensors, wanted):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run(formula, tensors, wanted)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e-3


@contextlib.contextmanager
def time_limit(seconds):
    """Raise TimeoutError in what takes longer, as compiling may."""
    def stop(*_):
        raise TimeoutError(f'took more than {seconds} s')
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measure(formula, tensors, wanted, ours, device):
    """Return the times of runs after two whose results were found right; at least three of them, for two seconds."""
    time_once = time_on_cuda if device == 'cuda' else time_on_cpu
    for _ in range(2):
        value = run(formula, tensors, wanted)
        right, found, expected = check(value, tensors, wanted, ours)
        if not right:
            raise ArithmeticError(f'{ours["name"]}: {found} where ratecl has {expected}')
    times = []
    while len(times) < 3 or (sum(times) < 2 and len(times) < 50):
        times.append(time_once(formula, tensors, wanted))
    for name in wanted:
        tensors[name].requires_grad_(False)
        tensors[name].grad = None
    return sorted(times)


def ways(task, device):
    yield 'PyTorch eager', lambda formula: formula
    if hasattr(torch, 'compile') and (device != 'cuda' or task in COMPILED_ON_CUDA):
        yield 'PyTorch compile', torch.compile


def result(task, way, device, ours, times, how):
    quarter = len(times) // 4
    return {'name': task, 'peer': way, 'how': how, 'device': device, 'shape': ours['shape'],
            'minimum_s': times[0], 'median_s': times[len(times) // 2], 'spread_s': times[-1 - quarter] - times[quarter],
            'runs': len(times)}


def measure_all(tasks, ours, device, how):
    found, data = [], Data(device)
    for task, formulas, inputs, wanted in tasks:
        if task not in ours:
            continue
        tensors = data.of(ours[task]['shape'], inputs)
        for way, compile_ in ways(task, device):
            for formula in formulas:
                try:
                    with time_limit(COMPILE_SECONDS) if device == 'cuda' else contextlib.nullcontext():
                        times = measure(compile_(formula), tensors, wanted, ours[task], device)
                except Exception as error:  # whatever a compiler of kernels may raise: the line is left out, aloud
                    print(f'peers: {task}, {way} on {device}{how}: {error}', file=sys.stderr)
                    continue
                found.append(result(task, way, device, ours[task], times, formula.__name__ + how))
                print(f'{task:28} {way:16} {device:6} {times[0] * 1e3:10.3f} ms  {formula.__name__}{how}', flush=True)
    return found


def fastest(results):
    best = {}
    for one in results:
        key = one['name'], one['peer'], one['device']
        if key not in best or one['minimum_s'] < best[key]['minimum_s']:
            best[key] = one
    return list(best.values())


def blas_environments():
    """The choice of the environment, OpenBLAS's own, and those that it would have on other processors."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith('OPENBLAS_')}
    yield '', dict(os.environ)
    if plain != dict(os.environ):
        yield ', OpenBLAS\'s own choice', plain
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        flags = file.read().split()
    for kernels, flag in (('SkylakeX', 'avx512vl'), ('Zen', 'fma'), ('Haswell', 'fma')):
        if flag in flags:
            yield f', OpenBLAS\'s kernels for {kernels}', {**plain, 'OPENBLAS_CORETYPE': kernels}


def measure_products(path):
    """In processes of their own, since a library of products chooses its kernels as it is loaded."""
    found = []
    for how, environment in blas_environments():
        with tempfile.NamedTemporaryFile(suffix='.json') as file:
            command = [sys.executable, os.path.abspath(__file__), path, file.name, '--products', how]
            if subprocess.run(command, env=environment, check=False).returncode == 0:
                found += json.load(open(file.name, encoding='utf-8'))['results']
    return found


def main(path, out, *products):
    torch.set_num_threads(THREADS)
    with open(path, encoding='utf-8') as file:
        all_of_ours = json.load(file)
    ours = {one['name']: one for one in all_of_ours['results']}
    on_gpu = any(one['kind'] == 'gpu' for one in all_of_ours['devices'])
    if not products and not hasattr(torch, 'compile'):
        print(f'peers: PyTorch {torch.__version__} has no torch.compile')
    if products:
        found = measure_all(PRODUCTS, ours, 'cpu', products[1])
    elif on_gpu and torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        found = measure_all(SWEEPS + PRODUCTS + LARGE_PRODUCTS + TINY, ours, 'cuda', '')
    else:
        if on_gpu:
            print('peers: PyTorch finds no CUDA device: it is measured on the CPU')
        found = measure_all(SWEEPS + TINY, ours, 'cpu', '')
        found += measure_products(path)
    with open(out, 'w', encoding='utf-8') as file:
        json.dump({'pytorch': torch.__version__, 'threads': THREADS, 'results': fastest(found)}, file)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit('usage: peers.py OURS.json OUT.json')
    main(*sys.argv[1:])
