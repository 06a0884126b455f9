# SPDX-License-Identifier: Apache-2.0
"""merge.py OUT OURS.json [PEER.json...]: write ratecl-bench's results, and those of peers under "peers".

OUT is a file, or a folder in which the file is named after the device that was measured last. The path of what was
written goes to standard output.
"""
import json
import os
import re
import sys

out, ours, *peers = sys.argv[1:]
with open(ours, encoding='utf-8') as file:
    merged = json.load(file)
merged['peers'] = []
for path in peers:
    with open(path, encoding='utf-8') as file:
        merged['peers'] += json.load(file)['results']

if os.path.isdir(out):
    device = merged['devices'][-1]['hardware']
    out = os.path.join(out, re.sub('[^a-z0-9]+', '-', device.lower()).strip('-') + '.json')


def rows(name):
    return ',\n  '.join(json.dumps(one) for one in merged[name])


# A line for each result, as ratecl-bench --compare reads them.
with open(out, 'w', encoding='utf-8') as file:
    head = json.dumps({name: value for name, value in merged.items() if not isinstance(value, list)})[:-1]
    body = ',\n '.join(f'"{name}": [\n  {rows(name)}]' for name in ('devices', 'results', 'peers'))
    file.write(f'{head},\n {body}}}\n')
print(out)
