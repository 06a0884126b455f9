/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients that the command writes: their files, their content, and what is refused. */
#define _POSIX_C_SOURCE 200809L

#include "command_json.h"
#include "command_run.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { B = 2, T = 4, N = 3, T1 = 5, COUNT = B * T * N, LINE_SIZE = 1024, HEADER_SIZE = 128 };

/* Small positive rates, exact in f16, so that no term is near a point without a derivative. */
static const double states[COUNT] = { 1,   2, 4, 0.5, 1.5, 2.5,  3, 1, 0.75, 2, 2.25, 6,
                                      1.5, 5, 1, 3.5, 2,   0.25, 4, 3, 7,    2, 1,    1.25 };
static const double reference[T1 * N] = { 2, 1, 3, 1, 4, 1.5, 0.5, 2, 2.5, 5, 0.25, 1, 1, 1, 4 };
static const double weights[N * N] = { 1, -2, 0.5, 3, 0.25, -1, 0.125, 2, 1 };
static const float negative[2][N] = { { 1, 2, 3 }, { 4, -5, 6 } };

static struct outcome outcome;

static void write_inputs(void)
{
    write_npy("s.npy", "<f8", "(2, 4, 3)", states, sizeof states);
    write_npy("flat.npy", "<f8", "(8, 3)", states, sizeof states);
    write_npy("r.npy", "<f8", "(5, 3)", reference, sizeof reference);
    write_npy("w.npy", "<f8", "(3, 3)", weights, sizeof weights);
    write_npy("negative.npy", "<f4", "(2, 3)", negative, sizeof negative);
}

/* ---- Files ---- */

static size_t file_count(void)
{
    size_t count = 0;
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    while (readdir(listing))
        count++;
    closedir(listing);
    return count;
}

static size_t read_file(const char *name, unsigned char *bytes, size_t most)
{
    char path[PATH_SIZE];
    FILE *file = fopen(path_of(name, path), "rb");
    ck_assert_msg(file != NULL, "there is no %s", name);
    const size_t size = fread(bytes, 1, most, file);
    fclose(file);
    return size;
}

static void assert_content(const char *name, const char *content)
{
    unsigned char bytes[64];
    ck_assert_uint_eq(read_file(name, bytes, sizeof bytes), strlen(content));
    ck_assert_mem_eq(bytes, content, strlen(content));
}

static void assert_absent(const char *name)
{
    struct stat facts;
    char path[PATH_SIZE];
    ck_assert_msg(lstat(path_of(name, path), &facts) != 0, "%s is there", name);
}

/* A gradient's file, byte by byte: format 1.0, its elements from a multiple of 64 on. */
static void read_gradient(const char *name, const char *type, const char *shape, double *elements,
                          size_t count)
{
    unsigned char file[HEADER_SIZE + 8 * COUNT + 1];
    char header[HEADER_SIZE];
    const size_t bytes = strcmp(type, "<f8") == 0 ? sizeof(double) : sizeof(float);
    const int used = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                              type, shape);
    ck_assert_uint_eq(read_file(name, file, sizeof file), HEADER_SIZE + count * bytes);
    ck_assert_mem_eq(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    ck_assert_mem_eq(file + 10, header, (size_t)used);
    for (int k = 10 + used; k < HEADER_SIZE; k++)
        ck_assert_int_eq(file[k], k < HEADER_SIZE - 1 ? ' ' : '\n');
    for (size_t k = 0; k < count; k++) {
        float single;
        memcpy(&single, file + HEADER_SIZE + k * bytes, sizeof single);
        if (bytes == sizeof single)
            elements[k] = single;
        else
            memcpy(&elements[k], file + HEADER_SIZE + k * bytes, sizeof *elements);
    }
}

static void evaluate(const char *line)
{
    run(&outcome, line);
    assert_done(&outcome, line);
    ck_assert_str_eq(outcome.err, "");
}

static void assert_close(const double *found, const double *expected, size_t count, double tolerance,
                         const char *what)
{
    double error = 0, size = 0;
    for (size_t k = 0; k < count; k++) {
        error += pow(found[k] - expected[k], 2);
        size += pow(expected[k], 2);
    }
    ck_assert_msg(size > 0 && sqrt(error) <= tolerance * sqrt(size), "%s: error %g of %g", what, sqrt(error),
                  sqrt(size));
}

/* ---- Against central differences of the command's own totals ---- */

/* Every criterion and metric, and the inputs beside the states that it needs. */
static const struct {
    const char *term, *inputs;
} cases[] = {
    { "firing_rate:target=0.5,weight=3", "" },
    { "firing_rate:metric=l1,target=2.25", "" },
    { "firing_rate_dist:ddof=1", "" },
    { "firing_rate_dist:metric=cv", "" },
    { "firing_rate_dist:metric=mean_ad", "" },
    { "firing_rate_dist:metric=max_ad,weight=-2", "" },
    { "state_prediction:tau=2", "" },
    { "entropy:reg=0.5", "" },
    { "entropy:reg=0,eps=0.01", "" },
    { "hebbian", " --weights w.npy --grad-weights gw.npy" },
    { "hebbian:over=step --term firing_rate:weight=0.5", " --weights w.npy --grad-weights gw.npy" },
    { "population_kl", " --reference r.npy --grad-reference gr.npy" },
    { "population_kl:symmetric=false,reduction=sum,log=sigma", " --reference r.npy --grad-reference gr.npy" },
};
enum { CASE_COUNT = sizeof cases / sizeof *cases };

static double total_of(const char *line)
{
    char *end;
    evaluate(line);
    const double total = strtod(outcome.out, &end);
    ck_assert_str_eq(end, "\n");
    return total;
}

/* Hundreds of runs on the CPU path: keep each one from loading every OpenCL driver. */
static void hide_opencl(void)
{
    ck_assert_int_eq(setenv("OCL_ICD_VENDORS", "/nonexistent", 1), 0);
}

/* `elements` are those of the file `name`, which is restored at the end. */
static void check_differences(const char *line, const char *name, const char *shape, const double *elements,
                              size_t count, const char *gradient)
{
    const double step = 1e-5;
    double found[COUNT], expected[COUNT], moved[COUNT];
    read_gradient(gradient, "<f8", shape, found, count);
    memcpy(moved, elements, count * sizeof *moved);
    for (size_t k = 0; k < count; k++) {
        moved[k] = elements[k] + step;
        write_npy(name, "<f8", shape, moved, count * sizeof *moved);
        const double above = total_of(line);
        moved[k] = elements[k] - step;
        write_npy(name, "<f8", shape, moved, count * sizeof *moved);
        expected[k] = (above - total_of(line)) / (2 * step);
        moved[k] = elements[k];
    }
    write_npy(name, "<f8", shape, elements, count * sizeof *elements);
    assert_close(found, expected, count, 1e-8, line);
}

START_TEST(central_differences)
{
    char line[LINE_SIZE];
    hide_opencl();
    write_inputs();
    snprintf(line, sizeof line, "eval --device cpu --quiet --precision f64 --grad g.npy --term %s%s s.npy",
             cases[_i].term, cases[_i].inputs);
    /* The gradients are read before the runs that follow write their own. */
    evaluate(line);
    check_differences(line, "s.npy", "(2, 4, 3)", states, COUNT, "g.npy");
    evaluate(line);
    if (strstr(line, "gw.npy"))
        check_differences(line, "w.npy", "(3, 3)", weights, N * N, "gw.npy");
    if (strstr(line, "gr.npy"))
        check_differences(line, "r.npy", "(5, 3)", reference, (size_t)T1 * N, "gr.npy");
}
END_TEST

/* ---- Element types, orders and precisions ---- */

#define TERMS "--term firing_rate_dist --term state_prediction --term entropy:eps=0.1 --term population_kl "

START_TEST(two_axes)
{
    double found[COUNT], expected[COUNT];
    write_inputs();
    write_npy("one.npy", "<f8", "(1, 8, 3)", states, sizeof states);
    evaluate("eval --device cpu --precision f64 --grad flat-g.npy " TERMS "--reference r.npy flat.npy");
    evaluate("eval --device cpu --precision f64 --grad one-g.npy " TERMS "--reference r.npy one.npy");
    read_gradient("flat-g.npy", "<f8", "(8, 3)", found, COUNT);
    read_gradient("one-g.npy", "<f8", "(1, 8, 3)", expected, COUNT);
    ck_assert_mem_eq(found, expected, sizeof found);
}
END_TEST

START_TEST(precisions)
{
    double found[COUNT], expected[COUNT];
    write_inputs();
    evaluate("eval --device cpu --precision f64 --grad g64.npy " TERMS "--reference r.npy s.npy");
    evaluate("eval --device cpu --grad g32.npy " TERMS "--reference r.npy s.npy");
    read_gradient("g64.npy", "<f8", "(2, 4, 3)", expected, COUNT);
    read_gradient("g32.npy", "<f4", "(2, 4, 3)", found, COUNT);
    assert_close(found, expected, COUNT, 1e-5, "f32");
}
END_TEST

/* The file's axes may come in any order, and the gradient's file has the same. */
static const char *const orders[] = { "btn", "bnt", "tbn", "tnb", "nbt", "ntb", "tn", "nt" };
enum { ORDER_COUNT = sizeof orders / sizeof *orders };

/* Permute (B, T, N), or (1, B T, N) where `order` has two letters, to its axes; *shape becomes the text. */
static void permute(const double *from, double *to, const char *order, char shape[64])
{
    const bool flat = strlen(order) == 2;
    const int lengths[128] = { ['b'] = flat ? 1 : B, ['t'] = flat ? B * T : T, ['n'] = N };
    int at[128] = { 0 }, used = snprintf(shape, 64, "(");
    for (const char *axis = order; *axis; ++axis)
        used += snprintf(shape + used, 64 - (size_t)used, axis[1] ? "%d, " : "%d)", lengths[(int)*axis]);
    for (int k = 0; k < COUNT; ++k) {
        at['n'] = k % N;
        at['t'] = k / N % lengths['t'];
        at['b'] = k / N / lengths['t'];
        int index = 0;
        for (const char *axis = order; *axis; ++axis)
            index = index * lengths[(int)*axis] + at[(int)*axis];
        to[index] = from[k];
    }
}

START_TEST(orders_of_axes)
{
    static const char *const names[] = { "g.npy", "gr.npy" };
    const bool flat = strlen(orders[_i]) == 2;
    char line[LINE_SIZE], shape[64];
    double permuted[COUNT], expected[COUNT], found[COUNT], plain[2][COUNT];
    hide_opencl();
    write_inputs();
    snprintf(line, sizeof line,
             "eval --device cpu --quiet --precision f64 --grad g.npy --grad-reference gr.npy " TERMS
             "--reference %s %s",
             flat ? "flat.npy" : "s.npy", flat ? "flat.npy" : "s.npy");
    const double total = total_of(line);
    for (int k = 0; k < 2; ++k)
        read_gradient(names[k], "<f8", flat ? "(8, 3)" : "(2, 4, 3)", plain[k], COUNT);

    permute(states, permuted, orders[_i], shape);
    write_npy("permuted.npy", "<f8", shape, permuted, sizeof permuted);
    snprintf(line, sizeof line,
             "eval --device cpu --quiet --precision f64 --grad g.npy --grad-reference gr.npy " TERMS
             "--axes %s --reference permuted.npy permuted.npy",
             orders[_i]);
    ck_assert_double_eq_tol(total_of(line), total, 1e-13 * fabs(total));
    for (int k = 0; k < 2; ++k) {
        permute(plain[k], expected, orders[_i], shape);
        read_gradient(names[k], "<f8", shape, found, COUNT);
        for (int e = 0; e < COUNT; ++e)
            ck_assert_double_eq_tol(found[e], expected[e], 1e-13 * fabs(expected[e]) + 1e-14);
    }
}
END_TEST

/* Whole numbers that each type holds, in the file as its letter and order say. */
static uint64_t bits_of(const char *code, unsigned number)
{
    static const uint16_t halves[] = { 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700 }; /* 1 to 7 */
    const float single = (float)number;
    const double wide = number;
    uint32_t bits32;
    uint64_t bits64;
    memcpy(&bits32, &single, 4);
    memcpy(&bits64, &wide, 8);
    if (code[0] != 'f')
        return number;
    return code[1] == '2' ? halves[number - 1] : code[1] == '4' ? bits32 : bits64;
}

static void write_variant(const char *name, char order, const char *code, bool fortran)
{
    char header[128];
    unsigned char data[8 * COUNT], file[sizeof header + 12 + sizeof data];
    const int bytes = code[1] - '0';
    snprintf(header, sizeof header, "{'descr': '%c%s', 'fortran_order': %s, 'shape': (%d, %d, %d), }\n",
             order, code, fortran ? "True" : "False", B, T, N);
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++)
            for (int i = 0; i < N; i++) {
                const int index = fortran ? b + B * (t + T * i) : (b * T + t) * N + i;
                const uint64_t bits = bits_of(code, 1 + (unsigned)(3 * b + 2 * t * t + 5 * i) % 7);
                for (int k = 0; k < bytes; k++)
                    data[index * bytes + (order == '>' ? bytes - 1 - k : k)] = (unsigned char)(bits >> 8 * k);
            }
    write_file(name, file, npy_bytes(file, 1, header, data, (size_t)(COUNT * bytes)));
}

static const char *const codes[] = { "f2", "f4", "f8", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8" };
enum { CODE_COUNT = sizeof codes / sizeof *codes };

START_TEST(element_types)
{
    static const char line[] =
        "eval --device cpu --precision f64 --grad g.npy " TERMS "--reference r.npy typed.npy";
    double found[COUNT], expected[COUNT];
    hide_opencl();
    write_inputs();
    write_variant("typed.npy", '<', "f8", false);
    evaluate(line);
    read_gradient("g.npy", "<f8", "(2, 4, 3)", expected, COUNT);
    for (int variant = 0; variant < 4; variant++) {
        write_variant("typed.npy", variant & 1 ? '>' : '<', codes[_i], variant & 2);
        evaluate(line);
        read_gradient("g.npy", "<f8", "(2, 4, 3)", found, COUNT);
        assert_close(found, expected, COUNT, 1e-13, codes[_i]);
    }
}
END_TEST

#define ALL                                                                                        \
    TERMS "--term=hebbian --reference=r.npy --weights=w.npy --grad=g.npy --grad-reference=gr.npy " \
          "--grad-weights=gw.npy s.npy"

/* The three gradients of ALL, one behind the other. */
static void read_all(const char *type, double elements[COUNT + T1 * N + N * N])
{
    read_gradient("g.npy", type, "(2, 4, 3)", elements, COUNT);
    read_gradient("gr.npy", type, "(5, 3)", elements + COUNT, (size_t)T1 * N);
    read_gradient("gw.npy", type, "(3, 3)", elements + COUNT + T1 * N, (size_t)N * N);
}

/* The numbers of the inputs are exact in f32, which devices without fp64 read. */
static void write_singles(const char *name, const char *shape, const double *elements, size_t count)
{
    float singles[COUNT];
    for (size_t k = 0; k < count; k++)
        singles[k] = (float)elements[k];
    write_npy(name, "<f4", shape, singles, count * sizeof *singles);
}

/* A device's gradient of a time-first file against its own of the batch-first one. */
static void check_permuted(const char *device)
{
    char line[LINE_SIZE], shape[64];
    double permuted[COUNT], expected[COUNT], found[COUNT];
    snprintf(line, sizeof line, "eval --device %s --grad g.npy " TERMS "--reference r.npy s.npy", device);
    run(&outcome, line);
    assert_done(&outcome, line);
    read_gradient("g.npy", "<f4", "(2, 4, 3)", found, COUNT);
    permute(found, expected, "tbn", shape);
    permute(states, permuted, "tbn", shape);
    write_singles("tbn.npy", shape, permuted, COUNT);
    snprintf(line, sizeof line, "eval --device %s --axes tbn --grad g.npy " TERMS "--reference r.npy tbn.npy",
             device);
    run(&outcome, line);
    assert_done(&outcome, line);
    read_gradient("g.npy", "<f4", shape, found, COUNT);
    assert_close(found, expected, COUNT, 1e-5, device);
}

START_TEST(every_device)
{
    double found[COUNT + T1 * N + N * N], expected[COUNT + T1 * N + N * N];
    write_singles("s.npy", "(2, 4, 3)", states, COUNT);
    write_singles("r.npy", "(5, 3)", reference, (size_t)T1 * N);
    write_singles("w.npy", "(3, 3)", weights, (size_t)N * N);
    evaluate("eval --device cpu --precision f64 " ALL);
    read_all("<f8", expected);
    evaluate("devices --json");
    struct json *root = json_parse(outcome.out);
    for (const struct json *device = json_get(root, "devices", JSON_ARRAY)->child; device;
         device = device->next) {
        char line[LINE_SIZE];
        const char *id = json_get(device, "id", JSON_STRING)->string;
        snprintf(line, sizeof line, "eval --device %s " ALL, id);
        run(&outcome, line);
        assert_done(&outcome, line);
        read_all("<f4", found);
        assert_close(found, expected, COUNT, 1e-5, id);
        assert_close(found + COUNT, expected + COUNT, (size_t)T1 * N, 1e-5, id);
        assert_close(found + COUNT + T1 * N, expected + COUNT + T1 * N, (size_t)N * N, 1e-5, id);
        check_permuted(id);
    }
    json_free(root);
}
END_TEST

/* ---- Terms that take no part ---- */

START_TEST(reduction_none)
{
    double found[COUNT], expected[COUNT];
    write_inputs();
    static const char *const forms[] = { "", "--quiet ", "--json ", "--quiet --json " };
    for (size_t k = 0; k < sizeof forms / sizeof *forms; ++k) {
        char line[LINE_SIZE];
        snprintf(line, sizeof line,
                 "eval --device cpu %s--reference r.npy --term population_kl:reduction=none --grad never.npy "
                 "s.npy",
                 forms[k]);
        assert_refused(line, 2, "reduction=none");
        assert_absent("never.npy");
    }
    assert_refused(
        "eval --device cpu --reference r.npy --term population_kl:reduction=none --term entropy "
        "--grad-reference never.npy s.npy",
        2, "--grad-reference: no term that depends on the file of --reference takes part in the total");

    evaluate("eval --device cpu --precision f64 --term entropy --grad g.npy s.npy");
    read_gradient("g.npy", "<f8", "(2, 4, 3)", expected, COUNT);
    evaluate("eval --device cpu --precision f64 --reference r.npy --term population_kl:reduction=none "
             "--term entropy --grad g.npy s.npy");
    read_gradient("g.npy", "<f8", "(2, 4, 3)", found, COUNT);
    assert_close(found, expected, COUNT, 1e-13, "beside reduction=none");
}
END_TEST

/* The gradient follows the default terms that the values allow. */
START_TEST(partial_defaults)
{
    static const char *const devices[] = { "cpu", NULL };
    float silent[2][N] = { { 1, 2, 0 }, { 4, -5, 0 } };
    double found[2 * N], expected[2 * N];
    char line[LINE_SIZE], best[512];
    write_inputs();
    write_npy("silent.npy", "<f4", "(2, 3)", silent, sizeof silent);
    write_singles("r.npy", "(5, 3)", reference, (size_t)T1 * N);
    run(&outcome, "devices --json");
    struct json *root = json_parse(outcome.out);
    snprintf(best, sizeof best, "%s",
             json_get(json_item(json_get(root, "devices", JSON_ARRAY), 0), "id", JSON_STRING)->string);
    json_free(root);
    for (int k = 0; k < 2; ++k) {
        const char *device = devices[k] ? devices[k] : best;
        snprintf(line, sizeof line, "eval --device %s --grad g.npy --reference r.npy silent.npy", device);
        run(&outcome, line);
        assert_done(&outcome, line);
        ck_assert_ptr_nonnull(
            strstr(outcome.err, "entropy is left out: states: 1 of 6 elements are negative"));
        ck_assert_ptr_nonnull(strstr(outcome.err, "population_kl is left out: 1 of 3 neurons"));
        read_gradient("g.npy", "<f4", "(2, 3)", found, 2 * N);
        snprintf(line, sizeof line,
                 "eval --device %s --grad g.npy --term firing_rate --term firing_rate_dist --term "
                 "state_prediction "
                 "silent.npy",
                 device);
        run(&outcome, line);
        assert_done(&outcome, line);
        read_gradient("g.npy", "<f4", "(2, 3)", expected, 2 * N);
        ck_assert_mem_eq(found, expected, sizeof found);
        snprintf(line, sizeof line,
                 "eval --device %s --grad-reference never.npy --reference r.npy silent.npy", device);
        run(&outcome, line);
        ck_assert_int_eq(outcome.status, 1);
        ck_assert_str_eq(outcome.out, "");
        ck_assert_ptr_nonnull(strstr(outcome.err, "population_kl is left out: 1 of 3 neurons"));
        ck_assert_ptr_nonnull(strstr(outcome.err,
                                     "ratecl: --grad-reference: no term is left that depends on the "
                                     "file of --reference\n"));
        assert_absent("never.npy");
    }
}
END_TEST

/* ---- Output ---- */

START_TEST(same_output)
{
    static const char *const lines[] = { "--quiet s.npy", "--json s.npy", "s.npy" };
    char line[LINE_SIZE], without[OUTPUT_MAX];
    double found[COUNT];
    write_inputs();
    for (size_t k = 0; k < 3; k++) {
        snprintf(line, sizeof line, "eval --device cpu %s", lines[k]);
        evaluate(line);
        memcpy(without, outcome.out, sizeof without);
        snprintf(line, sizeof line, "eval --device cpu --grad g%zu.npy %s", k, lines[k]);
        evaluate(line);
        ck_assert_str_eq(outcome.out, without);
        snprintf(line, sizeof line, "g%zu.npy", k);
        read_gradient(line, "<f4", "(2, 4, 3)", found, COUNT);
    }
}
END_TEST

START_TEST(modes_and_links)
{
    char path[PATH_SIZE], link[PATH_SIZE];
    struct stat facts;
    double found[COUNT];
    write_inputs();
    umask(027);
    evaluate("eval --device cpu --grad new.npy s.npy");
    ck_assert_int_eq(stat(path_of("new.npy", path), &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0640);

    write_file("old.npy", "old", 3);
    ck_assert_int_eq(chmod(path_of("old.npy", path), 0604), 0);
    ck_assert_int_eq(symlink("old.npy", path_of("link.npy", link)), 0);
    const size_t count = file_count();
    evaluate("eval --device cpu --grad link.npy s.npy");
    ck_assert_uint_eq(file_count(), count);
    ck_assert_int_eq(lstat(link, &facts), 0);
    ck_assert(S_ISLNK(facts.st_mode));
    ck_assert_int_eq(stat(path, &facts), 0);
    ck_assert_uint_eq(facts.st_mode & 0777, 0604);
    read_gradient("old.npy", "<f4", "(2, 4, 3)", found, COUNT);
}
END_TEST

/* ---- Refusals: exit status 2, before any work ---- */

static const struct wrong {
    const char *line, *message;
} wrong[] = {
    { "--grad", "--grad: a value is missing" },
    { "--grad g.npy --grad g.npy", "--grad: given twice" },
    { "--grad absent/g.npy", "absent/g.npy: it cannot be written: No such file" },
    { "--grad=", "it cannot be written: No such file" },
    { "--grad new/", "new/: it cannot be written: No such file" },
    { "--grad nowhere", "nowhere: it cannot be written: No such file" },
    { "--grad s.npy/g.npy", "s.npy/g.npy: it cannot be written: Not a directory" },
    { "--grad folder", "folder: it cannot be written: it is a directory" },
    { "--grad pipe", "pipe: it cannot be written: it is a pipe" },
    { "--grad /dev/null", "/dev/null: it cannot be written: it is a pipe or a device" },
    { "--grad /proc/g.npy", "/proc/g.npy: it cannot be written: " },
    { "--grad -", "standard output" },
    { "--grad s.npy", "--grad: s.npy is the file of an input too" },
    { "--grad folder/../s.npy", "is the file of an input" },
    { "--grad hard.npy", "hard.npy is the file of an input" },
    { "--grad soft.npy", "soft.npy is the file of an input" },
    { "--grad r.npy --reference r.npy", "r.npy is the file of an input" },
    { "--grad-weights s.npy --weights w.npy", "--grad-weights: s.npy is the file of an input" },
    { "--grad never.npy --weights w.npy --grad-weights never.npy", "never.npy is the file of --grad too" },
    { "--grad never.npy --weights w.npy --grad-weights ./folder/../never.npy", "is the file of --grad too" },
    { "--grad-weights g.npy", "--grad-weights: no term depends on the file of --weights; hebbian would" },
    { "--grad-weights g.npy --term entropy", "--grad-weights: no term" },
    { "--grad-weights g.npy --term hebbian", "hebbian needs --weights" },
    { "--grad-reference g.npy", "--grad-reference: no term depends on the file of --reference" },
    { "--grad-reference g.npy --weights w.npy", "population_kl would" },
};

START_TEST(refusals)
{
    char line[LINE_SIZE], path[PATH_SIZE], link_path[PATH_SIZE];
    write_inputs();
    /* From the second refusal on all of these are there. */
    mkdir(path_of("folder", path), 0700);
    mkfifo(path_of("pipe", path), 0600);
    (void)!symlink("absent.npy", path_of("nowhere", path));
    (void)!symlink("s.npy", path_of("soft.npy", path));
    (void)!link(path_of("s.npy", path), path_of("hard.npy", link_path));
    const size_t count = file_count();
    snprintf(line, sizeof line, "eval --device opencl:absent s.npy %s", wrong[_i].line);
    assert_refused(line, 2, wrong[_i].message);
    ck_assert_uint_eq(file_count(), count);
}
END_TEST

START_TEST(forbidden_places)
{
    char path[PATH_SIZE];
    write_inputs();
    write_file("closed.npy", "old", 3);
    ck_assert_int_eq(chmod(path_of("closed.npy", path), 0400), 0);
    ck_assert_int_eq(mkdir(path_of("locked", path), 0500), 0);
    if (geteuid() == 0) { /* the superuser may write both */
        evaluate("eval --device cpu --grad closed.npy s.npy");
        evaluate("eval --device cpu --grad locked/g.npy s.npy");
    } else {
        assert_refused("eval --device cpu --grad closed.npy s.npy", 2,
                       "closed.npy: it cannot be written: Perm");
        assert_content("closed.npy", "old");
        assert_refused("eval --device cpu --grad locked/g.npy s.npy", 2,
                       "locked/g.npy: it cannot be written");
    }
}
END_TEST

/* ---- Failures: exit status 1, and no file changes ---- */

START_TEST(failed_evaluations)
{
    write_inputs();
    write_file("old.npy", "old", 3);
    const size_t count = file_count();
    assert_refused("eval --device cpu --grad old.npy --term entropy negative.npy", 1, "[0,1,1]");
    assert_content("old.npy", "old");
    assert_refused("eval --device cpu --grad new.npy --term entropy negative.npy", 1, "[0,1,1]");
    assert_refused("eval --device opencl:absent --grad old.npy s.npy", 3, "absent");
    assert_content("old.npy", "old");
    ck_assert_uint_eq(file_count(), count);
}
END_TEST

/* The limit of a file's size stands for a full disk: a write ends early, the next one fails. */
START_TEST(full_disk)
{
    enum { WIDE = 40, LIMIT = 4096 };
    static float wide[2 * WIDE * WIDE];
    for (int k = 0; k < 2 * WIDE * WIDE; k++)
        wide[k] = (float)(1 + k % 7);
    write_inputs();
    write_npy("wide.npy", "<f4", "(2, 40)", wide, sizeof(float) * 2 * WIDE);
    write_npy("wide-w.npy", "<f4", "(40, 40)", wide, sizeof(float) * WIDE * WIDE);
    write_npy("long.npy", "<f4", "(80, 40)", wide, sizeof wide);
    write_file("old.npy", "old", 3);
    const size_t count = file_count();
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ LIMIT, RLIM_INFINITY }), 0);
    assert_refused("eval --device cpu --grad old.npy long.npy", 1, "old.npy: writing it failed: ");
    assert_content("old.npy", "old");
    assert_refused(
        "eval --device cpu --grad first.npy --grad-weights second.npy --weights wide-w.npy wide.npy", 1,
        "second.npy: writing it failed: ");
    assert_absent("first.npy");
    ck_assert_uint_eq(file_count(), count);
}
END_TEST

/* ---- Signals while a gradient is written ---- */

static void set(const char *name, const char *value)
{
    ck_assert_int_eq(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

/* Run an evaluation that sends itself a signal in the midst of `call`. It may sleep for `pause` milliseconds
 * then: without end if the signal is to end it. */
static void run_interrupted(const char *call, int number, const char *pause)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    set("RATECL_TEST_CALL", call);
    set("RATECL_TEST_SIGNAL", text);
    set("RATECL_TEST_PAUSE", pause);
    set("LD_PRELOAD", getenv("RATECL_TEST_INTERRUPT"));
    run(&outcome, "eval --device cpu --grad old.npy --grad-weights second.npy --weights w.npy s.npy");
    set("LD_PRELOAD", NULL);
}

static const struct interruption {
    const char *call;
    int number;
} interruptions[] = {
    { "write", SIGINT },
    { "write", SIGTERM },
    { "write", SIGHUP },
};
enum { INTERRUPTION_COUNT = sizeof interruptions / sizeof *interruptions };

START_TEST(interrupted)
{
    if (!getenv("RATECL_TEST_INTERRUPT"))
        return;
    hide_opencl();
    write_inputs();
    write_file("old.npy", "old", 3);
    const size_t count = file_count();
    run_interrupted(interruptions[_i].call, interruptions[_i].number, "100000");
    ck_assert_int_eq(outcome.status, 128 + interruptions[_i].number);
    ck_assert_str_eq(outcome.out, "");
    assert_content("old.npy", "old");
    assert_absent("second.npy");
    ck_assert_uint_eq(file_count(), count);
}
END_TEST

/* Within a call that makes a file or names it the signal waits until the list of files is right. Then the
 * command may have ended or not, but no temporary file stays, and each file has its old content or its new.
 */
START_TEST(interrupted_calls)
{
    static const char *const calls[] = { "mkstemp", "rename" };
    double found[COUNT];
    if (!getenv("RATECL_TEST_INTERRUPT"))
        return;
    hide_opencl();
    write_inputs();
    write_file("old.npy", "old", 3);
    write_file("second.npy", "old", 3);
    const size_t count = file_count();
    run_interrupted(calls[_i], SIGTERM, "50");
    const bool ended = outcome.status == 128 + SIGTERM;
    ck_assert_msg(ended || outcome.status == 0, "status %d: %s", outcome.status, outcome.err);
    ck_assert_uint_eq(file_count(), count);
    if (ended && strcmp(calls[_i], "mkstemp") == 0)
        assert_content("old.npy", "old");
    else
        read_gradient("old.npy", "<f4", "(2, 4, 3)", found, COUNT);
}
END_TEST

/* As nohup(1) has it. */
START_TEST(ignored_signal)
{
    double found[COUNT];
    if (!getenv("RATECL_TEST_INTERRUPT"))
        return;
    hide_opencl();
    write_inputs();
    signal(SIGHUP, SIG_IGN);
    run_interrupted("write", SIGHUP, "50");
    assert_done(&outcome, "with SIGHUP ignored");
    read_gradient("old.npy", "<f4", "(2, 4, 3)", found, COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command_gradients");
    TCase *tests = tcase_create("gradients");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, central_differences, 0, CASE_COUNT);
    tcase_add_test(tests, two_axes);
    tcase_add_test(tests, precisions);
    tcase_add_loop_test(tests, orders_of_axes, 0, ORDER_COUNT);
    tcase_add_loop_test(tests, element_types, 0, CODE_COUNT);
    tcase_add_test(tests, every_device);
    tcase_add_test(tests, reduction_none);
    tcase_add_test(tests, partial_defaults);
    tcase_add_test(tests, same_output);
    tcase_add_test(tests, modes_and_links);
    tcase_add_loop_test(tests, refusals, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tests, forbidden_places);
    tcase_add_test(tests, failed_evaluations);
    tcase_add_test(tests, full_disk);
    if (!getenv("RATECL_TEST_INTERRUPT"))
        printf("command_gradients: signals while a file is written skipped: nothing can be preloaded\n");
    tcase_add_loop_test(tests, interrupted, 0, INTERRUPTION_COUNT);
    tcase_add_loop_test(tests, interrupted_calls, 0, 2);
    tcase_add_test(tests, ignored_signal);
    suite_add_tcase(suite, tests);
    return run_tests(suite);
}
