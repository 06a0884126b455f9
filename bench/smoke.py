# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs on small problems, writes JSON that reads, and finds its lines again."""
import json
import os
import subprocess
import sys
import tempfile

program = sys.argv[1]


def run(*options):
    command = [program, '--quick', '--runs', '5', '--device', 'cpu', *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding='utf-8').stdout


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
