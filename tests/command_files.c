/* SPDX-License-Identifier: Apache-2.0 */
/* The command on good and on broken files. */
#define _POSIX_C_SOURCE 200809L

#include "command_json.h"
#include "command_run.h"

#include <math.h>
#include <sys/stat.h>

enum { B = 2, T = 3, N = 4, COUNT = B * T * N };

#define EVAL                                                                                       \
    "eval --device cpu --json --term firing_rate:metric=l1 --term firing_rate_dist:metric=max_ad " \
    "--term state_prediction "

/* ---- Good files ---- */

/* Small whole numbers that every element type holds; of boolean and unsigned types none is negative. */
static double sample(const char *code, int b, int t, int i)
{
    const int number = (7 * b + 3 * t * t + 5 * i) % 11;
    if (code[0] == 'b')
        return number % 2;
    return code[0] == 'u' ? number : number - 4;
}

static uint64_t half_bits(double number)
{
    int exponent;
    const double fraction = frexp(fabs(number), &exponent); /* in [0.5, 1) */
    if (number == 0)
        return 0;
    const uint64_t mantissa = (uint64_t)ldexp(fraction, 11) & 0x3ff;
    return (uint64_t)(number < 0) << 15 | (uint64_t)(exponent + 14) << 10 | mantissa;
}

static uint64_t bits_of(const char *code, double number)
{
    const float single = (float)number;
    uint32_t bits32;
    uint64_t bits64;
    memcpy(&bits32, &single, 4);
    memcpy(&bits64, &number, 8);
    if (code[0] != 'f')
        return (uint64_t)(int64_t)number;
    return code[1] == '2' ? half_bits(number) : code[1] == '4' ? bits32 : bits64;
}

/* What the three terms of EVAL give for a (batches, T, N) array. */
static void expected_values(const char *code, int batches, double values[3])
{
    double mu[N] = { 0 }, mubar = 0, size = 0, most = 0, squares = 0;
    for (int b = 0; b < batches; b++)
        for (int t = 0; t < T; t++)
            for (int i = 0; i < N; i++) {
                mu[i] += sample(code, b, t, i) / (batches * T);
                if (t + 1 < T)
                    squares += pow(sample(code, b, t, i) - sample(code, b, t + 1, i), 2);
            }
    for (int i = 0; i < N; i++) {
        mubar += mu[i] / N;
        size += fabs(mu[i]) / N;
    }
    for (int i = 0; i < N; i++)
        most = fmax(most, fabs(mu[i] - mubar));
    values[0] = size;
    values[1] = most;
    values[2] = squares / (batches * (T - 1) * N);
}

struct variant {
    char order; /* of the bytes, NumPy's letter; 0: none is written */
    const char *code;
    int version, batches;
    bool fortran, two_axes;
    int padding; /* spaces in the header, so that the data starts at an odd place */
};

static void write_variant(const struct variant *v)
{
    char header[256], type[4] = { 0 };
    unsigned char data[8 * COUNT], file[1024];
    const int bytes = v->code[1] - '0';
    type[0] = v->order;
    strcpy(v->order ? type + 1 : type, v->code);
    if (v->two_axes)
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d), }%*s\n",
                 type, v->fortran ? "True" : "False", T, N, v->padding, "");
    else
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d, %d), }%*s\n",
                 type, v->fortran ? "True" : "False", v->batches, T, N, v->padding, "");
    for (int b = 0; b < v->batches; b++)
        for (int t = 0; t < T; t++)
            for (int i = 0; i < N; i++) {
                const int index = v->fortran ? b + v->batches * (t + T * i) : (b * T + t) * N + i;
                const uint64_t bits = bits_of(v->code, sample(v->code, b, t, i));
                for (int k = 0; k < bytes; k++) /* the file's order of bytes, not the machine's */
                    data[index * bytes + (v->order == '>' ? bytes - 1 - k : k)] =
                        (unsigned char)(bits >> 8 * k);
            }
    const size_t data_bytes = (size_t)(v->batches * T * N * bytes);
    write_file("good.npy", file, npy_bytes(file, v->version, header, data, data_bytes));
}

static void check_variant(const struct variant *v)
{
    struct outcome *outcome = malloc(sizeof *outcome);
    ck_assert_ptr_nonnull(outcome);
    double expected[3];
    write_variant(v);
    run(outcome, EVAL "good.npy");
    assert_done(outcome, v->code);
    ck_assert_str_eq(outcome->err, "");
    expected_values(v->code, v->batches, expected);
    struct json *root = json_parse(outcome->out);
    const struct json *shape = json_get(root, "shape", JSON_ARRAY);
    ck_assert_double_eq(json_item(shape, 0)->number, v->batches);
    ck_assert_double_eq(json_item(shape, 1)->number, T);
    ck_assert_double_eq(json_item(shape, 2)->number, N);
    for (size_t k = 0; k < 3; k++) {
        const struct json *term = json_item(json_get(root, "terms", JSON_ARRAY), k);
        ck_assert_msg(fabs(json_get(term, "value", JSON_NUMBER)->number - expected[k]) <= 1e-5 * expected[k],
                      "%c%s version %d%s%s: term %zu is %g, expected %g", v->order ? v->order : '-', v->code,
                      v->version, v->fortran ? " Fortran" : "", v->two_axes ? " 2-D" : "", k,
                      json_get(term, "value", JSON_NUMBER)->number, expected[k]);
    }
    json_free(root);
    free(outcome);
}

static const char *const codes[] = { "f2", "f4", "f8", "u1", "i1", "b1", "i2", "u2", "i4", "u4" };
enum { CODE_COUNT = sizeof codes / sizeof *codes };

START_TEST(element_types)
{
    static const char orders[] = { '<', '>', '|', '=', 0 };
    const uint16_t one = 1;
    for (size_t o = 0; o < sizeof orders; o++) {
        /* '=', '|' and no letter mean the machine's order; write_variant() writes little-endian bytes. */
        if (orders[o] != '<' && orders[o] != '>' && *(const unsigned char *)&one == 0)
            continue;
        check_variant(&(struct variant){ orders[o], codes[_i], 1, B, false, false, 3 });
        check_variant(&(struct variant){ orders[o], codes[_i], 1, B, true, false, 0 });
    }
}
END_TEST

START_TEST(versions_and_axes)
{
    for (int version = 1; version <= 3; version++)
        for (int padding = 0; padding < 8; padding++) {
            check_variant(&(struct variant){ '<', "f4", version, B, padding % 2, false, padding });
            check_variant(&(struct variant){ '<', "f8", version, 1, padding % 2, true, padding });
        }
}
END_TEST

static const char *const spellings[] = {
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
    "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
    "  { \"fortran_order\" :\tFalse ,\n\"shape\": ( 2 , 3 , ) ,\r\n\"descr\" : \"<f4\" , } \f\n\n",
    "{'''descr''': \"\"\"<f4\"\"\", 'fortran_order': False, 'shape': (2L, 3L)}\n",
    "{'descr': 'f4', 'fortran_order': False, 'shape': (1, 2, +3,)}\n",
};

START_TEST(header_spellings)
{
    static const float data[] = { 1, 2, 3, 4, 5, 6 };
    unsigned char file[512];
    struct outcome *outcome = malloc(sizeof *outcome);
    ck_assert_ptr_nonnull(outcome);
    write_file("spelled.npy", file, npy_bytes(file, 1 + _i % 3, spellings[_i], data, sizeof data));
    run(outcome, "eval --device cpu --quiet --term firing_rate:metric=l1 spelled.npy");
    assert_done(outcome, spellings[_i]);
    ck_assert_double_eq_tol(atof(outcome->out), 3.5, 1e-6);
    free(outcome);
}
END_TEST

/* ---- Broken headers; each stands before 24 bytes of data ---- */

#define DESCR "'descr': '<f4', "
#define ORDER "'fortran_order': False, "
#define SHAPE "'shape': (2, 3), "

static const struct broken {
    const char *header, *message;
} broken[] = {
    { "", "expected" },
    { " ", "'{'" },
    { "{}", "lacks the key 'descr'" },
    { "{" DESCR ORDER "}", "lacks the key 'shape'" },
    { "{" DESCR SHAPE "}", "lacks the key 'fortran_order'" },
    { "{" DESCR ORDER SHAPE, "ends" },
    { "{" DESCR ORDER SHAPE "} x", "'x'" },
    { "{" DESCR ORDER SHAPE ", }", "','" },
    { "{, " DESCR ORDER SHAPE "}", "','" },
    { "{" DESCR ORDER SHAPE DESCR "}", "'descr' twice" },
    { "{" DESCR ORDER SHAPE "'more': 1}", "'more'" },
    { "{" DESCR ORDER "'shape ': (2, 3)}", "'shape '" },
    { "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}", "','" },
    { "{'descr' '<f4', " ORDER SHAPE "}", "':'" },
    { "{'descr: '<f4', " ORDER SHAPE "}", "descr: " },
    { "{'descr': '<f4, ", "string" },
    { "{'de\\x73cr': '<f4', " ORDER SHAPE "}", "plain character" },
    { "{'d\xc3\xa9': '<f4', " ORDER SHAPE "}", "0xc3" },
    { "[" DESCR ORDER SHAPE "]", "'['" },
    { "{'descr': <f4, " ORDER SHAPE "}", "'<'" },
    { "{'descr': '<f3', " ORDER SHAPE "}", "'<f3'" },
    { "{'descr': '<i8', " ORDER SHAPE "}", "'<i8'" },
    { "{'descr': '<c8', " ORDER SHAPE "}", "astype" },
    { "{'descr': '|O', " ORDER SHAPE "}", "'|O'" },
    { "{'descr': '<U4', " ORDER SHAPE "}", "'<U4'" },
    { "{'descr': '?f4', " ORDER SHAPE "}", "'?f4'" },
    { "{'descr': '', " ORDER SHAPE "}", "element type is ''" },
    { "{'descr': [('a', '<f4')], " ORDER SHAPE "}", "structured" },
    { "{'descr': ('<f4', (3,)), " ORDER SHAPE "}", "structured" },
    { "{" DESCR "'fortran_order': false, " SHAPE "}", "True or False" },
    { "{" DESCR "'fortran_order': 0, " SHAPE "}", "True or False" },
    { "{" DESCR "'fortran_order': Falsey, " SHAPE "}", "'y'" },
    { "{" DESCR ORDER "'shape': [2, 3]}", "tuple" },
    { "{" DESCR ORDER "'shape': 6}", "tuple" },
    { "{" DESCR ORDER "'shape': (6)}", "tuple" },
    { "{" DESCR ORDER "'shape': ()}", "0 axes" },
    { "{" DESCR ORDER "'shape': (6,)}", "1 axis" },
    { "{" DESCR ORDER "'shape': (1, 1, 2, 3)}", "4 axes" },
    { "{" DESCR ORDER "'shape': (,)}", "whole number" },
    { "{" DESCR ORDER "'shape': (2, , 3)}", "whole number" },
    { "{" DESCR ORDER "'shape': (2 3)}", "','" },
    { "{" DESCR ORDER "'shape': (2, 3", "ends" },
    { "{" DESCR ORDER "'shape': (2, 3.0)}", "'.'" },
    { "{" DESCR ORDER "'shape': (2, 03)}", "leading zero" },
    { "{" DESCR ORDER "'shape': (2, None)}", "whole number" },
    { "{" DESCR ORDER "'shape': (-2, 3)}", "negative" },
    { "{" DESCR ORDER "'shape': (0, 3)}", "length 0" },
    { "{" DESCR ORDER "'shape': (2, 0)}", "length 0" },
    { "{" DESCR ORDER "'shape': (2, 3, 0)}", "length 0" },
    { "{" DESCR ORDER "'shape': (2, 99999999999999999999999999)}", "too long" },
    { "{" DESCR ORDER "'shape': (2, 18446744073709551617)}", "too long" },
    { "{" DESCR ORDER "'shape': (922337203685477580, 922337203685477580)}", "more data than any file" },
    { "{" DESCR ORDER "'shape': (4294967296, 4294967296, 4)}", "more data than any file" },
    { "{" DESCR ORDER "'shape': (2305843009213693952, 2)}", "more data than any file" },
    { "{" DESCR ORDER "'shape': (1000000000, 1000000000)}",
      "24 bytes of data; expected 4000000000000000000" },
    { "{" DESCR ORDER "'shape': (2, 4)}", "24 bytes of data; expected 32" },
    { "{" DESCR ORDER "'shape': (2, 2)}", "24 bytes of data; expected 16" },
};
enum { BROKEN_COUNT = sizeof broken / sizeof *broken };

START_TEST(broken_headers)
{
    static const float data[6] = { 1, 2, 3, 4, 5, 6 };
    unsigned char file[512];
    for (int version = 1; version <= 3; version++) {
        write_file("broken.npy", file, npy_bytes(file, version, broken[_i].header, data, sizeof data));
        assert_refused("eval --device cpu broken.npy", 2, broken[_i].message);
        assert_refused("eval --device cpu broken.npy", 2, "ratecl: broken.npy: it");
    }
}
END_TEST

START_TEST(truncated_everywhere)
{
    static const int16_t data[6] = { 1, 2, 3, 4, 5, 6 };
    unsigned char file[256];
    const size_t size = npy_bytes(file, 1 + _i, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3)}\n",
                                  data, sizeof data);
    for (size_t length = 0; length < size; length++) {
        write_file("short.npy", file, length);
        assert_refused("eval --device cpu short.npy", 2, "ratecl: short.npy: it ");
    }
    file[size] = 0;
    write_file("short.npy", file, size + 1);
    assert_refused("eval --device cpu short.npy", 2, "13 bytes of data; expected 12");
    write_file("short.npy", file, size);
    struct outcome *outcome = malloc(sizeof *outcome);
    ck_assert_ptr_nonnull(outcome);
    run(outcome, "eval --device cpu short.npy");
    assert_done(outcome, "on the whole file");
    free(outcome);
}
END_TEST

START_TEST(broken_beginnings)
{
    static const struct {
        size_t at;
        unsigned char byte;
        const char *message;
    } faults[] = {
        { 0, 'x', "no NumPy file" }, { 5, 'y', "no NumPy file" }, { 6, 0, "version is 0.0" },
        { 6, 4, "version is 4.0" },  { 7, 1, "version is 1.1" },  { 9, 0xff, "ends within its header" },
    };
    static const float data[6] = { 1, 2, 3, 4, 5, 6 };
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        unsigned char file[256];
        const size_t size = npy_bytes(file, 1, spellings[0], data, sizeof data);
        file[faults[k].at] = faults[k].byte;
        write_file("fault.npy", file, size);
        assert_refused("eval --device cpu fault.npy", 2, faults[k].message);
    }
    unsigned char file[256];
    const size_t size = npy_bytes(file, 2, spellings[0], data, sizeof data);
    file[11] = 0xff;
    write_file("fault.npy", file, size);
    assert_refused("eval --device cpu fault.npy", 2, "ends within its header");
}
END_TEST

/* ---- No files ---- */

START_TEST(no_files)
{
    char path[PATH_SIZE];
    ck_assert_int_eq(mkdir(path_of("folder", path), 0700), 0);
    ck_assert_int_eq(mkfifo(path_of("pipe", path), 0600), 0);
    assert_refused("eval --device cpu absent.npy", 2, "ratecl: absent.npy: No such file");
    assert_refused("eval --device cpu folder", 2, "ratecl: folder: it is a directory");
    assert_refused("eval --device cpu pipe", 2, "ratecl: pipe: it is a pipe");
    assert_refused("eval --device cpu /dev/zero", 2, "/dev/zero: it is a pipe or a device");
    assert_refused("eval --device cpu -", 2, "standard input");
    assert_refused("eval --device cpu absent/x.npy", 2, "absent/x.npy: No such file");
}
END_TEST

START_TEST(unreadable_file)
{
    char path[PATH_SIZE];
    write_file("secret.npy", "x", 1);
    ck_assert_int_eq(chmod(path_of("secret.npy", path), 0), 0);
    /* The superuser reads it all the same, and learns what is wrong with its content. */
    assert_refused("eval --device cpu secret.npy", 2, geteuid() == 0 ? "no NumPy file" : "Permission denied");
}
END_TEST

/* ---- Weights and reference ---- */

START_TEST(other_files)
{
    static const float ones[48] = { 1, 2, 3, 4, 5, 6, 7 };
    write_npy("states.npy", "<f4", "(4, 3)", ones, 48);
    write_npy("w33.npy", "<f4", "(3, 3)", ones, 36);
    write_npy("w34.npy", "<f4", "(3, 4)", ones, 48);
    write_npy("w44.npy", "<f4", "(4, 4)", ones, 64);
    write_npy("w133.npy", "<f4", "(1, 3, 3)", ones, 36);
    write_npy("r4.npy", "<f4", "(2, 3, 4)", ones, 96);
    assert_refused("eval --device cpu --weights w34.npy states.npy", 2,
                   "w34.npy: its shape is (3, 4); expected (3, 3)");
    assert_refused("eval --device cpu --weights w44.npy states.npy", 2, "expected (3, 3)");
    assert_refused("eval --device cpu --weights w133.npy states.npy", 2, "w133.npy: it has 3 axes");
    assert_refused("eval --device cpu --reference r4.npy states.npy", 2, "r4.npy: it has 4 neurons");
    assert_refused("eval --device cpu --reference absent.npy states.npy", 2, "absent.npy: No such file");
    struct outcome *outcome = malloc(sizeof *outcome);
    ck_assert_ptr_nonnull(outcome);
    run(outcome, "eval --device cpu --weights w33.npy --term hebbian states.npy");
    assert_done(outcome, "with weights");
    free(outcome);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command_files");
    TCase *cases = tcase_create("files");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, element_types, 0, CODE_COUNT);
    tcase_add_test(cases, versions_and_axes);
    tcase_add_loop_test(cases, header_spellings, 0, sizeof spellings / sizeof *spellings);
    tcase_add_loop_test(cases, broken_headers, 0, BROKEN_COUNT);
    tcase_add_loop_test(cases, truncated_everywhere, 0, 3);
    tcase_add_test(cases, broken_beginnings);
    tcase_add_test(cases, no_files);
    tcase_add_test(cases, unreadable_file);
    tcase_add_test(cases, other_files);
    suite_add_tcase(suite, cases);
    return run_tests(suite);
}
