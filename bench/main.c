/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ratecl-bench: how fast ratecl is, beside what the machine can do.
 *
 * For each device the ceilings are measured first, then each line of the table in lines.c: on the CPU path,
 * on an OpenCL device with states in host memory ("host"), and in buffers of that device, evaluated in place
 * ("device"). Before a line is timed its values, and its gradients' norms and a signed sum, are held against
 * those of the CPU path in f64 arithmetic. First runs are dropped. A line is run until it has taken a second,
 * five times at least and --runs times at most; minimum, median and spread (the quartiles' distance) are
 * given.
 *
 * lines.h says how bytes, operations and launches are counted. The ceiling that binds a line is that at which
 * its work takes longest, and its fraction that time over the line's minimum:
 *
 *     read             bytes read / the read ceiling
 *     read + write     bytes read / the read ceiling + bytes written / the write ceiling
 *     multiply-add     operations / the multiply-add ceiling
 *     launch           launches x the time of an empty kernel (or parallel region) and its wait
 *     transfer         bytes sent / the rate to the device + bytes received / the rate from it, of pinned
 * memory; only where states in host memory are evaluated on a device that has memory of its own
 *
 * With --profile the events of a profiling queue give the times of the kernels, each the least of all runs;
 * the line itself takes longer then. A kernel that reads states, or multiplies, stands beside its own
 * ceiling.
 *
 * The ceilings of memory are those of arrays as large as the sweeps' states. Lines whose arrays fit in a
 * cache may exceed them.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "start.h"
#include "support.h"

static const char usage[] =
    "usage: ratecl-bench [options]\n"
    "  --device TEXT   a device, as ratecl's --device; repeatable (cpu and the best OpenCL device)\n"
    "  --only TEXT     lines whose name contains TEXT; repeatable\n"
    "  --quick         small problems, in seconds\n"
    "  --batch B, --time T, --neurons N   the sweeps' shape (32, 1000, 1024)\n"
    "  --runs R        at most so many runs of a line (20)\n"
    "  --profile       print the time, the groups and the share of its ceiling of each OpenCL kernel\n"
    "  --json FILE     write the results to FILE\n"
    "  --compare FILE  print each line beside that of an earlier --json FILE\n"
    "  --list          print the lines' names\n";

enum { REPEATED_MAX = 16 };

typedef struct words {
    const char *word[REPEATED_MAX];
    int count;
} words;

typedef struct options {
    scale sizes;
    int64_t runs;
    bool quick, list, profile;
    words devices, only;
    const char *json, *compare, *start;
} options;

/* ---- The command line ---- */

static int64_t read_number(const char *text, int64_t most)
{
    char *end;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || number < 1 || number > most)
        fail(text, "is no number in the range of its option");
    return number;
}

static void add_word(words *all, const char *word)
{
    if (all->count == REPEATED_MAX)
        fail(word, "is once too often");
    all->word[all->count++] = word;
}

static options read_options(int count, char **arguments)
{
    options given = { .runs = 20 };
    int64_t shape[3] = { 0 };
    const struct {
        const char *name;
        bool *flag;
        int64_t *number, most;
        words *words;
        const char **text;
    } table[] = {
        { "--device", NULL, NULL, 0, &given.devices, NULL },
        { "--only", NULL, NULL, 0, &given.only, NULL },
        { "--quick", &given.quick, NULL, 0, NULL, NULL },
        { "--list", &given.list, NULL, 0, NULL, NULL },
        { "--profile", &given.profile, NULL, 0, NULL, NULL },
        { "--batch", NULL, &shape[0], 1 << 20, NULL, NULL },
        { "--time", NULL, &shape[1], 1 << 24, NULL, NULL },
        { "--neurons", NULL, &shape[2], 1 << 20, NULL, NULL },
        { "--runs", NULL, &given.runs, RUNS_MAX, NULL, NULL },
        { "--json", NULL, NULL, 0, NULL, &given.json },
        { "--compare", NULL, NULL, 0, NULL, &given.compare },
        { "--start", NULL, NULL, 0, NULL, &given.start },
    };
    const size_t known = sizeof table / sizeof table[0];
    for (int k = 1; k < count; ++k) {
        size_t found = 0;
        while (found < known && strcmp(arguments[k], table[found].name) != 0)
            ++found;
        if (found == known || (!table[found].flag && k + 1 == count)) {
            fputs(usage, stderr);
            exit(2);
        }
        if (table[found].flag)
            *table[found].flag = true;
        else if (table[found].number)
            *table[found].number = read_number(arguments[++k], table[found].most);
        else if (table[found].words)
            add_word(table[found].words, arguments[++k]);
        else
            *table[found].text = arguments[++k];
    }
    given.sizes = given.quick
                      ? (scale){ { 4, 200, 128 }, { 2, 100, 128 }, { 32, 100, 128 }, { 1, 100, 100 } }
                      : (scale){ { 32, 1000, 1024 }, { 4, 1000, 1024 }, { 32, 1000, 1024 }, { 1, 100, 100 } };
    for (int axis = 0; axis < 3; ++axis)
        if (shape[axis])
            given.sizes.sweep[axis] = shape[axis];
    return given;
}

static bool is_wanted(const options *given, const char *name)
{
    bool wanted = given->only.count == 0;
    for (int k = 0; k < given->only.count; ++k)
        wanted |= strstr(name, given->only.word[k]) != NULL;
    return wanted;
}

/* ---- Devices ---- */

enum { TARGETS_MAX = 2 * REPEATED_MAX };

typedef struct site {
    target where;
    ceilings most;
} site;

typedef struct sites {
    site all[TARGETS_MAX];
    size_t count;
    target reference; /* the CPU path, for the expected results */
    gauge *loops;
} sites;

static size_t sweep_bytes(const scale *sizes)
{
    return (size_t)(sizes->sweep[0] * sizes->sweep[1] * sizes->sweep[2]) * sizeof(float);
}

/* The device's targets and their ceilings; a device named twice counts once. */
static void add_sites(sites *found, const char *name, const scale *sizes, const ceilings *loops, report *out)
{
    target host = open_host(name);
    for (size_t k = 0; k < found->count; ++k)
        if (strcmp(found->all[k].where.device.id, host.device.id) == 0) {
            close_target(&host);
            return;
        }
    rated device = { host.device, *loops };
#ifdef RATECL_WITH_OPENCL
    if (host.device.kind != RATECL_DEVICE_OPENMP) {
        target in_place = open_in_place(&host.device);
        device.most = ceilings_of_kernels(&in_place, sweep_bytes(sizes));
        if (is_cpu(&host.device))
            device.most = join_ceilings(device.most, *loops);
        found->all[found->count++] = (site){ in_place, device.most };
    }
#else
    (void)sizes;
#endif
    found->all[found->count++] = (site){ host, device.most };
    add_device(out, &device);
    print_device(&device);
}

static bool has_opencl_device(void)
{
    bool found = false;
    for (size_t k = 0; k < ratecl_device_count(); ++k) {
        ratecl_device_info info = { .size = sizeof info };
        CHECK(ratecl_device_get(k, &info));
        found |= info.kind != RATECL_DEVICE_OPENMP && info.kind != RATECL_DEVICE_SOFTWARE;
    }
    return found;
}

static void open_sites(sites *found, const options *given, report *out)
{
    ceilings loops;
    found->loops = new_gauge(sweep_bytes(&given->sizes), &loops);
    found->reference = open_host("cpu");
    for (int k = 0; k < given->devices.count; ++k)
        add_sites(found, given->devices.word[k], &given->sizes, &loops, out);
    if (given->devices.count)
        return;
    add_sites(found, "cpu", &given->sizes, &loops, out);
    if (has_opencl_device())
        add_sites(found, "opencl", &given->sizes, &loops, out);
    else
        puts("no OpenCL device was found");
}

static void close_sites(sites *found)
{
    for (size_t k = 0; k < found->count; ++k)
        close_target(&found->all[k].where);
    close_target(&found->reference);
    release_gauge(found->loops);
}

/* ---- Lines ---- */

static result new_result(const site *here, const char *name, const problem *p)
{
    result made = { .name = name, .memory = memory_of(&here->where), .element = p->of->element };
    memcpy(made.device, here->where.device.id, sizeof made.device);
    memcpy(made.shape, p->shape, sizeof made.shape);
    return made;
}

static void publish(report *out, const result *one)
{
    print_result(one);
    add_result(out, one);
}

static int count_terms(unsigned criteria)
{
    int count = 0;
    for (; criteria; criteria &= criteria - 1)
        ++count;
    return count;
}

/* Return whether a line of this family is measured here. Each is, once, on the CPU path and in the buffers of
 * an OpenCL device. Host memory on an OpenCL device is for the lines that are named after it and for the tiny
 * ones; on a CPU also for those of fixed shapes, where it costs no transfer. */
static bool is_measured(const site *here, family shapes)
{
    if (here->where.device.kind == RATECL_DEVICE_OPENMP || here->where.in_place)
        return shapes != FROM_HOST;
    if (shapes == FROM_HOST || shapes == TINY)
        return true;
    return is_cpu(&here->where.device) && (shapes == SWEEP || shapes == PRODUCT);
}

static bool bound_by_memory(bound least)
{
    return strncmp(least.name, "read", 4) == 0;
}

/* The ceilings of a CPU's memory where the problem's arrays lie, which the other targets on it share. */
static void measure_memory_of(const problem *p, const gauge *loops, arrays *host, ceilings *most)
{
    const array all[] = { p->used.states, p->used.reference };
    const size_t bytes = problem_states(p) * element_bytes(p->of->element);
    span read[2];
    size_t count = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; ++k)
        if (all[k] != NO_ARRAY)
            read[count++] = (span){ memory_for(host, all[k]), bytes };
    const span written = { memory_for(host, p->used.gradient_states),
                           gradient_bytes(p, RATECL_OUTPUT_GRADIENT_STATES) };
    raise_to_now(loops, read, count, written, most);
}

static void add_kernels(result *to, const problem *p, const profile *kernels, const ceilings *most)
{
    for (; to->kernel_count < kernels->count; ++to->kernel_count) {
        const kernel_time *time = &kernels->kernels[to->kernel_count];
        const work done = work_of_kernel(p, time->name, time->arrays);
        to->kernels[to->kernel_count] = (kernel_result){ *time, done, bound_of(done, most) };
    }
}

/* The problem's times and what they are held against: of a CPU's memory, the ceilings just before and after.
 */
static result run_here(site *here, const problem *p, int runs, const outcome *expected, const gauge *loops,
                       arrays *host)
{
    result one = new_result(here, p->of->name, p);
    one.value_count = count_terms(p->of->criteria);
    one.done = work_of(p);
    ceilings most = here->most, now = { .read = 0 };
    if (here->where.in_place || is_cpu(&here->where.device))
        one.done.sent = one.done.received = 0;
    const bool again = is_cpu(&here->where.device) && bound_by_memory(bound_of(one.done, &most));
    if (again)
        measure_memory_of(p, loops, host, &now);
    profile kernels;
    one.time = measure(&here->where, p, host, runs, expected, &one.found, &kernels);
    if (again)
        measure_memory_of(p, loops, host, &now);
    most.read = now.read > 0 ? now.read : most.read;
    most.write = now.write > 0 ? now.write : most.write;
    one.least = bound_of(one.done, &most);
    add_kernels(&one, p, &kernels, &most);
    return one;
}

static void run_line(const problem *p, const options *given, sites *on, arrays *host, report *out)
{
    const int runs = p->of->shapes == TINY && !given->quick ? RUNS_MAX : (int)given->runs;
    const outcome expected = expected_outcome(&on->reference, p, host);
    for (size_t k = 0; k < on->count; ++k)
        if (is_measured(&on->all[k], p->of->shapes)) {
            const result one = run_here(&on->all[k], p, runs, &expected, on->loops, host);
            publish(out, &one);
        }
}

static const line *line_named(const char *name)
{
    for (size_t k = 0; k < line_count; ++k)
        if (strcmp(lines[k].name, name) == 0)
            return &lines[k];
    fail(name, "is no line");
}

static const char *const started_line = "tiny six";

/* The start of a device is one, wherever the states lie. */
static void run_starts(const char *program, const options *given, const sites *on, report *out)
{
    enum { RUNS = 5 };
    static const char *const names[2][2] = { { "plan warm", "plan cold" },
                                             { "first values warm", "first values cold" } };
    problem p;
    new_problem(line_named(started_line), &given->sizes, &p);
    for (int cold = 1; cold >= 0; --cold) {
        if (!is_wanted(given, names[0][cold]) && !is_wanted(given, names[1][cold]))
            continue;
        for (size_t k = 0; k < on->count; ++k) {
            if (on->all[k].where.in_place)
                continue;
            const start found =
                measure_start(program, on->all[k].where.device.id, cold, given->quick ? 1 : RUNS);
            result plan = new_result(&on->all[k], names[0][cold], &p), values = plan;
            values.name = names[1][cold];
            plan.time = found.plan;
            values.time = found.values;
            publish(out, &plan);
            publish(out, &values);
        }
    }
}

static void run_all(const char *program, const options *given)
{
    report out = { 0 };
    if (given->profile)
        enable_profiling();
    sites on = { .count = 0 };
    arrays host = { .bytes = { 0 } };
    earlier *then = given->compare ? read_earlier(given->compare) : NULL;
    open_sites(&on, given, &out);
    problem p;
    for (size_t k = 0; k < line_count; ++k)
        if (is_wanted(given, lines[k].name) && new_problem(&lines[k], &given->sizes, &p))
            reserve_arrays(&host, &p);
    print_heading();
    for (size_t k = 0; k < line_count; ++k)
        if (is_wanted(given, lines[k].name) && new_problem(&lines[k], &given->sizes, &p))
            run_line(&p, given, &on, &host, &out);
    run_starts(program, given, &on, &out);
    close_sites(&on);
    release_arrays(&host);
    if (given->json)
        write_json(&out, given->json);
    if (then)
        print_comparison(&out, then);
    release_earlier(then);
    release_report(&out);
}

/* The process that run_starts() measures. */
static void start_only(const options *given)
{
    problem p;
    arrays host = { .bytes = { 0 } };
    new_problem(line_named(started_line), &given->sizes, &p);
    reserve_arrays(&host, &p);
    start_here(given->start, &p, &host);
    release_arrays(&host);
}

int main(int count, char **arguments)
{
    setlocale(LC_CTYPE, "");
    const options given = read_options(count, arguments);
    if (given.start)
        start_only(&given);
    else if (given.list)
        for (size_t k = 0; k < line_count; ++k)
            puts(lines[k].name);
    else
        run_all(arguments[0], &given);
    return 0;
}
