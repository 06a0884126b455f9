#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""static_kernels.py KERNELS_FOLDER PLAN_PROGRAMS [--show]

Compile the kernels of the GPU sets for GPUs that are not there, in the options that the library gives them in a dozen
plans (PLAN_PROGRAMS prints these), and fail where a GPU would stumble: compile errors, spilled registers, private
memory, more local memory than a group may have, and narrow loads of states that could be loaded by 16 bytes.

Compilers: NVIDIA's sm_90 by clang, libclc and ptxas; AMD's gfx90a and gfx1100 by clang and libclc; Intel's Arc, Data
Center Max and Tiger Lake graphics by ocloc. A vendor whose compilers are missing is skipped by name; the exit status is
77 where all of them are.

--show prints what each kernel takes. Environment: CLANG, CLC (the folder of libclc), and RATECL_STATIC_TUNING, a
RATECL_TUNING that replaces those of all vendors.
"""
import collections
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
LOCAL_BYTES = 48 << 10
LOCAL_BYTES_OF_F32_SWEEPS = 32 << 10
SHORT_ELEMENTS = 2, 3  # RATECL_F16, RATECL_U8
WITHOUT_FP64 = 'dg2', 'tgllp'
SECOND_CHIPS = 'gfx1100', 'tgllp'  # of a vendor; they get the plans of contiguous aligned states alone
STATES_KERNELS = re.compile('sweep|gradient(?!_weights)|correlate')

Program = collections.namedtuple('Program', 'file options wide')  # options: a tuple; wide: see plan_programs.c


class Kernel:
    """What a compiler made of one kernel."""

    def __init__(self, name):
        self.name, self.registers, self.local = name, 0, 0
        self.spilled = self.private = 0  # bytes or registers; bytes
        self.loads = collections.Counter()  # of global memory, by their width in bytes
        self.counts_loads = True

    def complaints(self, program):
        if self.spilled:
            yield f'{self.spilled} spilled'
        if self.private:
            yield f'{self.private} bytes of private memory'
        narrow = self.name.startswith('sweep') and '-DPRECISION=32' in program.options
        limit = LOCAL_BYTES_OF_F32_SWEEPS if narrow else LOCAL_BYTES
        if self.local > limit:
            yield f'{self.local} bytes of local memory: expected at most {limit}'
        if program.wide and self.counts_loads and self.reads_states(program):
            yield from self.complaints_of_loads(program)

    def reads_states(self, program):
        return STATES_KERNELS.match(self.name) and '-DREADS=0' not in program.options

    def complaints_of_loads(self, program):
        """Most short elements are to be loaded several at once. Of others, 16 bytes: most of them too, but for
        coefficients of rows in gradients and lags along time, which alignment does not reach."""
        by_16 = 16 * self.loads[16]
        narrower = sum(width * count for width, count in self.loads.items()) - by_16
        if any(f'-DELEMENT={element}' in program.options for element in SHORT_ELEMENTS):
            single = self.loads[1] + 2 * self.loads[2]
            if single > by_16 + narrower - single:
                yield f'{self.loads[1]} loads of 1 byte and {self.loads[2]} of 2'
            return
        mixed = self.name.startswith('gradient') or '-DALONG=1' in program.options
        if not by_16 or (by_16 < narrower and not mixed):
            yield f'its loads of 16 bytes read {by_16} bytes, its narrower loads {narrower}'

    def __str__(self):
        loads = ', '.join(f'{count} x {width}' for width, count in sorted(self.loads.items()))
        return (f'{self.name}: {self.registers} registers, {self.spilled} spilled, {self.private} bytes private, '
                f'{self.local} bytes local' + (f', loads of {loads} bytes' if loads else ''))


class CompileError(Exception):
    pass


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8',
                          errors='replace', check=False, **more)
    if done.returncode != 0:
        lines = done.stdout.splitlines()
        errors = [k for k, line in enumerate(lines) if 'error' in line.lower()]
        raise CompileError('\n'.join(lines[errors[0] if errors else 0:][:8]))
    return done.stdout


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


# ---- Compilers ----

def find_clang():
    """Return the name of a clang of at least version 16, the newest first; None where there is none."""
    names = [os.environ['CLANG']] if 'CLANG' in os.environ else [f'clang-{k}' for k in range(24, 15, -1)] + ['clang']
    for name in names:
        if shutil.which(name):
            version = re.search(r'clang version (\d+)', subprocess.run(
                [name, '--version'], stdout=subprocess.PIPE, encoding='utf-8', check=False).stdout)
            if version and int(version.group(1)) >= 16:
                return name
    return None


def find_ptxas():
    return shutil.which('ptxas') or next(iter(glob.glob('/usr/local/cuda*/bin/ptxas')), None)


def find_library(*names):
    """Return the path of the first of these bitcode libraries of libclc that is there; None where none is."""
    folders = [os.environ['CLC']] if 'CLC' in os.environ else ['/usr/lib/clc', '/usr/share/clc', '/usr/libexec/clc']
    for name in names:
        for folder in folders:
            if os.path.exists(os.path.join(folder, name)):
                return os.path.join(folder, name)
    return None


def compile_by_clang(clang, library, options, program, source, out):
    run([clang, '-x', 'cl', '-O3', '-w', '-nogpulib', '-Xclang', '-finclude-default-header', '-Xclang',
         '-mlink-builtin-bitcode', '-Xclang', library, *options, *program.options, '-S', '-o', out, source])
    return read(out)


def kernels_of_ptx(ptx, log):
    kernels = {}
    for part in ptx.split('.entry ')[1:]:
        kernel = Kernel(re.match(r'\w+', part).group())
        kernels[kernel.name] = kernel
        for vector, bits in re.findall(r'\bld\.global(?:\.nc)?(?:\.v([24]))?\.[a-z](\d+)', part):
            kernel.loads[int(vector or 1) * int(bits) // 8] += 1
    for part in log.split("Compiling entry function '")[1:]:
        kernel = kernels[re.match(r'\w+', part).group()]
        frame, stores, loads = map(int, re.search(
            r'(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads', part).groups())
        kernel.spilled, kernel.private = max(stores, loads), frame
        kernel.registers = int(re.search(r'Used (\d+) registers', part).group(1))
        local = re.search(r'(\d+) bytes smem', part)
        kernel.local = int(local.group(1)) if local else 0
    return list(kernels.values())


def for_nvidia(chip, tools, program, source, folder):
    ptx = compile_by_clang(tools['clang'], tools['library'],
                           ['-target', 'nvptx64-nvidia-nvcl', '-Xclang', '-target-cpu', '-Xclang', chip],
                           program, source, folder + '/all.ptx')
    return kernels_of_ptx(ptx, run([tools['ptxas'], f'-arch={chip}', '-v', '-o', folder + '/all.cubin', folder + '/all.ptx']))


AMD_WIDTHS = {'dwordx4': 16, 'b128': 16, 'dwordx3': 12, 'b96': 12, 'dwordx2': 8, 'b64': 8, 'dword': 4, 'b32': 4}


def amd_libraries(chip):
    """Return what may be linked: one for the HSA runtime, which knows sizes of groups, or what there is for chips."""
    return 'amdgcn--amdhsa.bc', f'{chip}-amdgcn--.bc', 'tahiti-amdgcn--.bc'


def amd_width(text):
    return AMD_WIDTHS.get(text) or (1 if '8' in text or 'byte' in text else 2)


def kernels_of_amd(assembly):
    kernels = {}
    for name, body in re.findall(r'^(\w+):\s*; @\1\n(.*?)^\.Lfunc_end', assembly, re.M | re.S):
        kernel = kernels[name] = Kernel(name)
        for text in re.findall(r'^\s+(?:global|flat|buffer)_load_(\w+)', body, re.M):
            kernel.loads[amd_width(text)] += 1
    for part in re.split(r'^  - ', assembly[assembly.index('amdhsa.kernels:'):], flags=re.M)[1:]:
        values = dict(re.findall(r'^ *\.(\w+): +(\S+)$', part, re.M))
        if 'vgpr_count' not in values:
            continue
        kernel = kernels[values['name']]
        kernel.registers = int(values['vgpr_count'])
        kernel.spilled = int(values['vgpr_spill_count'])
        kernel.private = int(values['private_segment_fixed_size'])
        kernel.local = int(values['group_segment_fixed_size'])
    return [kernel for kernel in kernels.values() if kernel.registers]


def for_amd(chip, tools, program, source, folder):
    library = find_library(*amd_libraries(chip))
    return kernels_of_amd(compile_by_clang(tools['clang'], library, ['-target', 'amdgcn-amd-amdhsa', f'-mcpu={chip}'],
                                           program, source, f'{folder}/{chip}.s'))


def kernels_of_intel(description):
    """Return the kernels of ocloc's .ze_info, a text in YAML."""
    kernels = []
    for part in re.split(r'^  - name: +', description[:description.find('kernels_misc_info:')], flags=re.M)[1:]:
        kernel = Kernel(re.match(r'\w+', part).group())
        kernel.counts_loads, kernel.scratch = False, 0
        for field, name in (('grf_count', 'registers'), ('slm_size', 'local')):
            found = re.search(field + r': +(\d+)', part)
            setattr(kernel, name, int(found.group(1)) if found else 0)
        for usage, size in re.findall(r'usage: +(\w+)\n +size: +(\d+)', part):
            if usage.startswith('private'):
                kernel.private += int(size)
            else:
                kernel.scratch += int(size)
        kernels.append(kernel)
    return kernels


def spills_of_listings(folder):
    """Return for each kernel the bytes that its tries spill: a second one, whose listing has _1_ in its name, replaces
    the first."""
    spills = collections.defaultdict(list)
    for path in sorted(glob.glob(folder + '/*.asm'), key=lambda path: '_1_simd' in path):
        listing = read(path)
        name = re.search(r'^//\.kernel (\w+)', listing, re.M)
        size = re.search(r'^//\.spill size (\d+)', listing, re.M)
        if name:
            spills[name.group(1)].append(int(size.group(1)) if size else 0)
    return spills


def for_intel(chip, tools, program, source, folder):
    listings = f'{folder}/{chip}-listings'
    run([tools['ocloc'], 'compile', '-file', source, '-device', chip, '--format', 'zebin', '-options',
         ' '.join(('-w', *program.options)), '-out_dir', f'{folder}/{chip}', '-output', 'all', '-output_no_suffix'],
        env={**os.environ, 'IGC_ShaderDumpEnable': '1', 'IGC_DumpToCustomDir': listings, 'IGC_ShaderDumpPidDisable': '1'})
    with open(f'{folder}/{chip}/all', 'rb') as file:
        text = re.search(rb'\nkernels: *\n.*?\n\.\.\.', b'\n' + file.read(), re.S)
    if not text:
        raise CompileError('ocloc wrote no description of the kernels')
    kernels, spills = kernels_of_intel(text.group().decode()), spills_of_listings(listings)
    for kernel in kernels:
        # Scratch holds spilled registers and on some chips private memory; its size is rounded, and that of a first
        # try which spilled remains.
        kernel.spilled = spills[kernel.name][-1]
        if not any(spills[kernel.name]):
            kernel.private = kernel.private or kernel.scratch
    return kernels


def vendors():
    """Return for each vendor: its name, chips, compiler, tools, and the RATECL_TUNING to try, in this order."""
    clang, nvidia = find_clang(), find_library('nvptx64--nvidiacl.bc')
    amd = find_library(*amd_libraries('gfx90a'))
    return [
        ('NVIDIA', ['sm_90'], for_nvidia, {'clang': clang, 'library': nvidia, 'ptxas': find_ptxas()}, ['set=gpu']),
        ('AMD', ['gfx90a', 'gfx1100'], for_amd, {'clang': clang, 'library': amd}, ['set=amd']),
        ('Intel', ['dg2', 'tgllp'], for_intel, {'ocloc': shutil.which('ocloc')}, ['set=intel']),
        ('Intel Data Center Max', ['pvc'], for_intel, {'ocloc': shutil.which('ocloc')}, ['set=gpu16']),
    ]


# ---- Programs ----

def programs_of(plan_programs, tunings):
    """Return the programs of the first tuning that the library takes; none where it takes none, or has no device."""
    for tuning in [os.environ['RATECL_STATIC_TUNING']] if 'RATECL_STATIC_TUNING' in os.environ else tunings:
        done = subprocess.run([plan_programs], env={**os.environ, 'RATECL_TUNING': tuning}, stdout=subprocess.PIPE,
                              encoding='utf-8', check=False)
        if done.returncode == 0:
            break
        if done.returncode != SKIPPED:
            sys.exit(f'{plan_programs} failed with RATECL_TUNING={tuning}')
    else:
        return []
    wide = {}
    for line in done.stdout.splitlines():
        mark, file, *options = line.split()
        key = file, tuple(options)
        wide[key] = wide.get(key) or mark == 'wide'
    return [Program(*key, is_wide) for key, is_wide in wide.items()]


def check(program, vendor, folder):
    """Return the vendor's report on a program for each of its chips: chip, kernels, error."""
    _, chips, compile_for, tools, _ = vendor
    reports = []
    for chip in chips:
        if chip in WITHOUT_FP64 and '-DPRECISION=64' in program.options or chip in SECOND_CHIPS and not program.wide:
            continue
        with tempfile.TemporaryDirectory() as out:
            source = out + '/all.cl'
            with open(source, 'w', encoding='utf-8') as file:
                file.write(read(f'{folder}/prelude.cl') + read(f'{folder}/{program.file}'))
            try:
                reports.append((chip, compile_for(chip, tools, program, source, out), None))
            except CompileError as error:
                reports.append((chip, [], str(error)))
    return reports


def print_report(program, reports, show):
    """Print what is wrong, or everything; return the number of kernels and of complaints."""
    kernels = complaints = 0
    for chip, found, error in reports:
        kernels += len(found)
        wrong = [f'does not compile: {error}'] if error else []
        wrong += [f'{kernel.name}: {text}' for kernel in found for text in kernel.complaints(program)]
        complaints += len(wrong)
        if wrong or show:
            print(f'{chip}: {program.file} {" ".join(program.options)}')
        for text in wrong:
            print(f'    wrong: {text}')
        if show:
            for kernel in found:
                print(f'    {kernel}')
    return kernels, complaints


def main(folder, plan_programs, *rest):
    cores = len(os.sched_getaffinity(0))
    known, checked, complaints = {}, 0, 0
    for vendor in vendors():
        name, chips, _, tools, tunings = vendor
        missing = [tool for tool, path in tools.items() if not path]
        if missing:
            print(f'{name} skipped: missing {", ".join(missing)}')
            continue
        programs = known.setdefault(tuple(tunings), None)
        if programs is None:
            programs = known[tuple(tunings)] = programs_of(plan_programs, tunings)
        if not programs:
            print(f'{name} skipped: no plans with RATECL_TUNING={" or ".join(tunings)}')
            continue
        kernels = wrong = 0
        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            reports = pool.map(lambda program: check(program, vendor, folder), programs)
            for program, report in zip(programs, reports):
                found, bad = print_report(program, report, '--show' in rest)
                kernels, wrong = kernels + found, wrong + bad
        print(f'{name}: {len(programs)} programs for {", ".join(chips)}: {kernels} kernels, {wrong} complaints', flush=True)
        checked, complaints = checked + kernels, complaints + wrong
    return 1 if complaints else 0 if checked else SKIPPED


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
