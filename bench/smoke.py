# SPDX-License-Identifier: Apache-2.0
"""Run the benchmark on small problems: its JSON reads, it finds its lines again, and it names kernels and their times."""
import json
import os
import subprocess
import sys
import tempfile

program = sys.argv[1]


def run(*options):
    command = [program, '--quick', '--runs', '5', '--device', 'cpu', *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout


def profile():
    """Return the kernels of each line on the best OpenCL device; nothing where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'bench.json')
        options = '--quick', '--runs', '5', '--device', 'opencl', '--only', 'rates + gradient', '--profile', '--json', path
        if subprocess.run([program, *options], check=False, stdout=subprocess.DEVNULL).returncode != 0:
            print('skipped: no OpenCL device can be profiled')
            return []
        with open(path, encoding='utf-8') as file:
            return [result['kernels'] for result in json.load(file)['results']]


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'bench.json')
    run('--json', path)
    with open(path, encoding='utf-8') as file:
        found = json.load(file)
    output = run('--only', 'rates', '--compare', path)

names = [result['name'] for result in found['results']]
assert len(found['devices']) == 1 and found['devices'][0]['read_bytes_per_s'] > 0, found['devices']
for name in 'rates', 'five + gradient', 'hebbian + both gradients', 'tiny six', 'plan cold', 'plan warm':
    assert name in names, (name, names)
for result in found['results']:
    assert 0 < result['minimum_s'] <= result['median_s'], result
    assert result['bound'] == 'none' or result['fraction'] > 0, result
rates = sum('rates' in name for name in names)
assert f'{rates} lines are in both' in output, output
for kernels in profile():
    assert any(one['kernel'].startswith('sweep') for one in kernels), kernels
    assert all(one['groups'] > 0 and one['work_items'] > 0 and one['seconds'] > 0 for one in kernels), kernels
