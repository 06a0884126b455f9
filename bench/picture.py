# SPDX-License-Identifier: Apache-2.0
"""picture.py BENCH.json OUT.svg: our times, the peers' and the ceiling's, a row for each task that a peer has."""
import json
import math
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 940, 240, 150, 124, 27, 56
INK, FAINT, GRID = '#1f2430', '#6b7280', '#e5e7eb'

CEILING = 'what the machine allows'

# Name, colour, shape; later ones are drawn over earlier ones.
SERIES = [('PyTorch eager', '#e07b39', 'diamond'), ('PyTorch compile', '#c0392b', 'diamond'),
          ('PyTorch eager, CUDA', '#d4a017', 'diamond'), ('PyTorch compile, CUDA', '#8a6d00', 'diamond'),
          ('CLBlast', '#7d5ba6', 'square'),
          ('ratecl, OpenCL', '#1b9e77', 'circle'), ('ratecl, OpenMP', '#2563eb', 'circle')]


def series_of(one):
    if 'peer' in one:
        return one['peer'] + (', CUDA' if one['device'] == 'cuda' else '')
    return 'ratecl, OpenMP' if one['device'] == 'cpu' else 'ratecl, OpenCL'


def read(path):
    """{task: {series: fastest result}} of the tasks that a peer has too, and the whole file."""
    with open(path, encoding='utf-8') as file:
        found = json.load(file)
    tasks = {}
    for one in found['results'] + found['peers']:
        mine = tasks.setdefault(one['name'], {})
        name = series_of(one)
        if name not in mine or one['minimum_s'] < mine[name]['minimum_s']:
            mine[name] = one
    return {task: mine for task, mine in tasks.items() if any('peer' in one for one in mine.values())}, found


def duration(seconds):
    for unit, size in (('s', 1), ('ms', 1e-3), ('µs', 1e-6)):
        if seconds >= size * 0.9995 or unit == 'µs':
            return f'{seconds / size:.3g} {unit}'


def text(x, y, content, size=12, anchor='start', colour=INK, weight='normal'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def mark(shape, x, y, colour):
    style = f'fill="{colour}" stroke="#ffffff" stroke-width="1"'
    if shape == 'circle':
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {style}/>'
    if shape == 'tick':
        return f'<path d="M{x:.1f} {y - 9:.1f}v18" stroke="{colour}" stroke-width="2.5"/>'
    if shape == 'square':
        return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" {style}/>'
    return f'<path d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z" {style}/>'


class Axis:
    """Logarithmic: whole decades about all times."""

    def __init__(self, times):
        self.low, self.high = math.log10(min(times)) - 0.12, math.log10(max(times)) + 0.12

    def __call__(self, seconds):
        return LEFT + (math.log10(seconds) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        """Tens with a label, and 2 and 5 times them too where there are few."""
        factors = (1, 2, 5) if self.high - self.low < 3.2 else (1,)
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for factor in factors:
                if self.low <= math.log10(factor) + power <= self.high:
                    yield factor * 10.0 ** power


def times_of(mine):
    for one in mine.values():
        yield one['minimum_s']
        if one.get('fraction'):
            yield one['minimum_s'] * one['fraction']


def draw_row(task, mine, axis, y):
    ours = [one for one in mine.values() if 'peer' not in one]
    peers = [one for one in mine.values() if 'peer' in one]
    parts = [text(LEFT - 14, y + 4, task, 12.5, 'end')]
    best, rival = (min(group, key=lambda one: one['minimum_s']) for group in (ours, peers))
    first, last = axis(min(times_of(mine))), axis(max(one['minimum_s'] for one in mine.values()))
    parts.append(f'<path d="M{first:.1f} {y}H{last:.1f}" stroke="{GRID}" stroke-width="5"/>')
    for name, colour, shape in SERIES:
        if name in mine:
            parts.append(mark(shape, axis(mine[name]['minimum_s']), y, colour))
    if best.get('fraction'):
        parts.append(mark('tick', axis(best['minimum_s'] * best['fraction']), y, INK))
    ratio = rival['minimum_s'] / best['minimum_s']
    parts.append(text(WIDTH - 74, y + 4, f'{ratio:.1f} ×' if ratio < 9.95 else f'{ratio:.0f} ×', 13, 'end', INK, 'bold'))
    parts.append(text(WIDTH - 16, y + 4, duration(best['minimum_s']), 12, 'end', FAINT))
    return parts


def legend(shown):
    parts, x, y = [], 32, 78
    for name, colour, shape in reversed([(CEILING, INK, 'tick')] + [one for one in SERIES if one[0] in shown]):
        if x + 6.6 * len(name) > WIDTH - RIGHT:
            x, y = 32, y + 20
        parts += [mark(shape, x, y, colour), text(x + 12, y + 4, name, 12)]
        x += 34 + 6.6 * len(name)
    return parts


def shape_text(tasks):
    shapes = {tuple(one['shape']): None for mine in tasks.values() for one in mine.values()}
    return ' and '.join('({}, {}, {})'.format(*shape) for shape in shapes)


def draw(tasks, found):
    axis = Axis([seconds for mine in tasks.values() for seconds in times_of(mine)])
    bottom = TOP + ROW * len(tasks)
    height = bottom + BOTTOM
    hardware = '; '.join(dict.fromkeys(device['hardware'] for device in found['devices']))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
             f'height="{height}" font-family="system-ui, DejaVu Sans, Helvetica, Arial, sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             text(24, 32, 'Time of one evaluation', 19, weight='bold'),
             text(24, 53, f'(B, T, N) = {shape_text(tasks)}, f32; {hardware}', 12, colour=FAINT)]
    parts += legend({name for mine in tasks.values() for name in mine})
    parts += [text(WIDTH - 74, TOP - 18, 'best peer / ours', 11, 'end', FAINT), text(WIDTH - 16, TOP - 18, 'ours', 11, 'end', FAINT)]
    for tick in axis.ticks():
        parts.append(f'<path d="M{axis(tick):.1f} {TOP - 10}V{bottom}" stroke="{GRID}"/>')
        parts.append(text(axis(tick), bottom + 18, duration(tick), 11, 'middle', FAINT))
    for row, (task, mine) in enumerate(tasks.items()):
        parts += draw_row(task, mine, axis, TOP + ROW * row + ROW / 2)
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 40, 'least time, logarithmic; further left is faster', 12, 'middle', FAINT))
    return '\n'.join(parts + ['</svg>']) + '\n'


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows, everything = read(sys.argv[1])
    if not rows:
        sys.exit('picture: no peer was measured, so there is nothing to compare')
    with open(sys.argv[2], 'w', encoding='utf-8') as picture:
        picture.write(draw(rows, everything))
