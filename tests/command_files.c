/* SPDX-License-Identifier: Apache-2.0 */
/* The command on good and on broken files. */
#define _XOPEN_SOURCE 700

#include "command_json.h"
#include "command_terminal.h"

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
    int padding;      /* spaces in the header, so that the data starts at an odd place */
    const char *name; /* of the type in the header; NULL: order and code */
};

static void write_variant(const struct variant *v)
{
    char header[256], type[16] = { 0 };
    unsigned char data[8 * COUNT], file[1024];
    const int bytes = v->code[1] - '0';
    type[0] = v->order;
    strcpy(v->order ? type + 1 : type, v->code);
    if (v->name)
        strcpy(type, v->name);
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

static const char *const codes[] = { "f2", "f4", "f8", "u1", "i1", "b1", "i2", "u2", "i4", "u4", "i8", "u8" };
enum { CODE_COUNT = sizeof codes / sizeof *codes };

START_TEST(element_types)
{
    static const char orders[] = { '<', '>', '|', '=', 0 };
    const uint16_t one = 1;
    for (size_t o = 0; o < sizeof orders; o++) {
        /* '=', '|' and no letter mean the machine's order; write_variant() writes little-endian bytes. */
        if (orders[o] != '<' && orders[o] != '>' && *(const unsigned char *)&one == 0)
            continue;
        check_variant(&(struct variant){ orders[o], codes[_i], 1, B, false, false, 3, NULL });
        check_variant(&(struct variant){ orders[o], codes[_i], 1, B, true, false, 0, NULL });
    }
}
END_TEST

START_TEST(versions_and_axes)
{
    for (int version = 1; version <= 3; version++)
        for (int padding = 0; padding < 8; padding++) {
            check_variant(&(struct variant){ '<', "f4", version, B, padding % 2, false, padding, NULL });
            check_variant(&(struct variant){ '<', "f8", version, 1, padding % 2, true, padding, NULL });
        }
}
END_TEST

static const char *const spellings[] = {
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
    "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
    "  { \"fortran_order\" :\tFalse ,\n\"shape\": ( 2 , 3 , ) ,\r\n\"descr\" : \"<f4\" , } \f\n\n",
    "{'''descr''': \"\"\"<f4\"\"\", 'fortran_order': False, 'shape': (2L, 3L)}\n",
    "{'descr': 'f4', 'fortran_order': False, 'shape': (1, 2, +3,)}\n",
    "{u'descr': u'<f4', u'fortran_order': False, u'shape': (2, 3)}\n",
    "{U\"descr\": r'<f4', R'fortran_order': False, u'''shape''': (2L, 3 L,)}\n",
    "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 3), }\n",
    "{'descr': 'single', 'fortran_order': False, 'shape': (2, 3), }\n",
    "{'descr': 'f', 'fortran_order': False, 'shape': (2, 3), }\n",
    "{'descr': '<f', 'fortran_order': False, 'shape': (2, 3), }\n",
    "{'descr': '=f4', 'fortran_order': False, 'shape': (2, 3), }\n",
    "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 3), }\n",
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

/* What NumPy 1.17 to 2.4 take a type's name for, on a machine of 64 bits. */
static const struct name {
    const char *name, *code;
} names[] = {
    { "?", "b1" },       { "|?", "b1" },     { "bool", "b1" },    { "b", "i1" },  { "|b", "i1" },
    { "int8", "i1" },    { "B", "u1" },      { "uint8", "u1" },   { "h", "i2" },  { "<h", "i2" },
    { "int16", "i2" },   { "H", "u2" },      { "uint16", "u2" },  { "i", "i4" },  { "<i", "i4" },
    { "int32", "i4" },   { "I", "u4" },      { "uint32", "u4" },  { "q", "i8" },  { "<q", "i8" },
    { "int64", "i8" },   { "l", "i8" },      { "int", "i8" },     { "Q", "u8" },  { "=Q", "u8" },
    { "uint64", "u8" },  { "uint", "u8" },   { "e", "f2" },       { "<e", "f2" }, { "float16", "f2" },
    { "half", "f2" },    { "f", "f4" },      { "float32", "f4" }, { "d", "f8" },  { "<d", "f8" },
    { "float64", "f8" }, { "double", "f8" }, { "float", "f8" },
};
enum { NAME_COUNT = sizeof names / sizeof *names };

START_TEST(names_of_types)
{
    check_variant(&(struct variant){ 0, names[_i].code, 1, B, false, false, 3, names[_i].name });
}
END_TEST

START_TEST(big_endian_letters)
{
    check_variant(&(struct variant){ '>', "f4", 1, B, false, false, 3, ">f" });
    check_variant(&(struct variant){ '>', "i4", 1, B, false, false, 3, ">i" });
    check_variant(&(struct variant){ '>', "u8", 1, B, true, false, 3, ">Q" });
}
END_TEST

/* NumPy counts each byte of a bool that is not 0 as 1. */
START_TEST(bytes_of_a_bool)
{
    static const unsigned char bytes[] = { 0, 255, 254, 1 };
    static struct outcome outcome;
    write_npy("bool.npy", "|b1", "(2, 2)", bytes, sizeof bytes);
    run(&outcome, "eval --device cpu --quiet --term firing_rate:metric=l1 bool.npy");
    assert_done(&outcome, "bool.npy");
    ck_assert_double_eq(atof(outcome.out), 0.75);
    run(&outcome, "eval --device cpu --quiet --weights bool.npy --term hebbian bool.npy");
    assert_done(&outcome, "bool.npy");
    ck_assert_double_eq(atof(outcome.out), 2); /* W = [0 1; 1 1]: 1 for the first row, 3 for the second */
}
END_TEST

/* ---- Integers of 64 bits ---- */

static const struct integer {
    const char *type;
    uint64_t bits;
    const char *refusal; /* NULL: f64 holds it */
} integers[] = {
    { "<i8", (uint64_t)1 << 53, NULL },
    { "<i8", -((uint64_t)1 << 53), NULL },
    { "<i8", (uint64_t)1 << 63, NULL },
    { "<u8", (uint64_t)1 << 63, NULL },
    { "<u8", ((uint64_t)1 << 53) + 2, NULL },
    { "<i8", ((uint64_t)1 << 53) + 1, "9007199254740993" },
    { "<i8", -(((uint64_t)1 << 53) + 1), "-9007199254740993" },
    { "<i8", INT64_MAX, "9223372036854775807" },
    { "<u8", UINT64_MAX, "18446744073709551615" },
    { "<u8", ((uint64_t)1 << 63) + 1, "9223372036854775809" },
};
enum { INTEGER_COUNT = sizeof integers / sizeof *integers };

START_TEST(large_integers)
{
    static const char line[] =
        "eval --device cpu --quiet --precision f64 --term firing_rate:metric=l1 integers.npy";
    static struct outcome outcome;
    char message[256];
    const struct integer *given = &integers[_i];
    uint64_t numbers[12] = { 0 };
    numbers[7] = given->bits;
    write_npy("integers.npy", given->type, "(2, 2, 3)", numbers, sizeof numbers);
    if (given->refusal) {
        snprintf(message, sizeof message,
                 "integers.npy: its element [1,0,1] is %s, which f64 does not hold; expected",
                 given->refusal);
        assert_refused(line, 2, message);
        return;
    }
    run(&outcome, line);
    assert_done(&outcome, line);
    const double value = given->type[1] == 'i' ? (double)(int64_t)given->bits : (double)given->bits;
    ck_assert_double_eq_tol(atof(outcome.out), fabs(value) / 12, 1e-12 * fabs(value));
}
END_TEST

START_TEST(integer_weights)
{
    static struct outcome outcome;
    static const uint64_t weights[4] = { 2, 1, 1, (uint64_t)-3 };
    static const uint64_t large[4] = { 2, 1, UINT64_MAX, 4 };
    static const float states[] = { 1, 2, 3, 1 };
    write_npy("s.npy", "<f4", "(2, 2)", states, sizeof states);
    write_npy("w.npy", "<i8", "(2, 2)", weights, sizeof weights);
    write_npy("large.npy", "<u8", "(2, 2)", large, sizeof large);
    run(&outcome, "eval --device cpu --quiet --term hebbian --weights w.npy s.npy");
    assert_done(&outcome, "on weights of 64 bits");
    ck_assert_double_eq(atof(outcome.out), 7.5); /* (2 + 4 - 12 + 18 + 6 - 3) / 2 */
    assert_refused("eval --device cpu --term hebbian --weights large.npy s.npy", 2,
                   "large.npy: its element [1,0] is 18446744073709551615");
}
END_TEST

/* ---- Standard input ---- */

enum { WIDE_STEPS = 1024, WIDE_N = 64 }; /* longer than what is read at once for a header */

/* Pipe an array of 262144 bytes, or four more or fewer, to the command. */
static void pipe_array(struct outcome *outcome, const float *wide, int excess)
{
    unsigned char header[256];
    int ends[2];
    const size_t bytes = sizeof *wide * WIDE_STEPS * WIDE_N;
    FILE *out = tmpfile(), *err = tmpfile();
    ck_assert(out && err && pipe(ends) == 0);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    const pid_t child = start("eval --device cpu --quiet -", ends[0], fileno(out), fileno(err));
    close(ends[0]);
    const size_t length =
        npy_bytes(header, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1024, 64), }\n", "", 0);
    const size_t first = excess < 0 ? bytes - 4 : bytes;
    ck_assert_int_eq(write(ends[1], header, length), (ssize_t)length);
    ck_assert_int_eq(write(ends[1], wide, first), (ssize_t)first);
    if (excess > 0)
        ck_assert_int_eq(write(ends[1], wide, 4), 4);
    close(ends[1]);
    outcome->status = status_of(child);
    read_back(out, outcome->out);
    read_back(err, outcome->err);
}

START_TEST(standard_input)
{
    static const char *const messages[] = {
        "ratecl: standard input: it has 262140 bytes of data; expected 262144 ",
        NULL,
        "ratecl: standard input: it has more than 262144 bytes of data; expected",
    };
    static struct outcome outcome;
    static float wide[WIDE_STEPS * WIDE_N];
    for (int k = 0; k < WIDE_STEPS * WIDE_N; ++k)
        wide[k] = (float)(k % 5);
    write_npy("wide.npy", "<f4", "(1024, 64)", wide, sizeof wide);
    run_from(&outcome, "wide.npy", "eval --device cpu --quiet -");
    assert_done(&outcome, "on a file as standard input");
    const double expected = atof(outcome.out);
    run(&outcome, "eval --device cpu --quiet wide.npy");
    ck_assert_double_eq(atof(outcome.out), expected);
    for (int k = 0; k < 3; ++k) {
        pipe_array(&outcome, wide, k - 1);
        ck_assert_int_eq(outcome.status, messages[k] ? 2 : 0);
        if (messages[k])
            ck_assert_ptr_nonnull(strstr(outcome.err, messages[k]));
        else
            ck_assert_double_eq(atof(outcome.out), expected);
    }
    run_from(&outcome, "wide.npy", "eval --device cpu --quiet --grad wide.npy -");
    ck_assert_int_eq(outcome.status, 2);
    ck_assert_ptr_nonnull(strstr(outcome.err, "--grad: wide.npy is the file of an input too"));
}
END_TEST

START_TEST(no_standard_input)
{
    static struct outcome outcome;
    int inner;
    const int outer = open_terminal(80, &inner), endless = open("/dev/zero", O_RDONLY);
    run_between(&outcome, inner, -1, "eval --device cpu -");
    ck_assert_int_eq(strncmp(outcome.err,
                             "ratecl: standard input: it is a terminal; expected a NumPy file or a pipe\n",
                             74),
                     0);
    close(inner);
    close(outer);
    ck_assert_int_ge(endless, 0);
    run_between(&outcome, endless, -1, "eval --device cpu -");
    ck_assert_ptr_nonnull(strstr(outcome.err, "standard input: it is no NumPy file"));
    close(endless);
    assert_refused("eval --device cpu -", 2, "standard input: it is empty"); /* /dev/null */
    run_from(&outcome, ".", "eval --device cpu -");
    ck_assert_int_eq(outcome.status, 2);
    ck_assert_ptr_nonnull(strstr(outcome.err, "ratecl: standard input: it is a directory"));
}
END_TEST

/* ---- The order of the axes ---- */

/* The bytes of (B, T, N) in Fortran order are those of (N, T, B). */
START_TEST(axes)
{
    static struct outcome outcome;
    unsigned char file[1024], turned[1024];
    char path[PATH_SIZE], header[128];
    double expected[3];
    write_variant(&(struct variant){ '<', "f4", 1, B, true, false, 3, NULL });
    FILE *stream = fopen(path_of("good.npy", path), "rb");
    ck_assert_ptr_nonnull(stream);
    const size_t size = fread(file, 1, sizeof file, stream);
    fclose(stream);
    snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d, %d)}\n", N, T,
             B);
    write_file("ntb.npy", turned, npy_bytes(turned, 1, header, file + size - 4 * COUNT, 4 * COUNT));
    expected_values("f4", B, expected);
    for (int k = 0; k < 2; ++k) {
        run(&outcome, k == 0 ? EVAL "--axes ntb ntb.npy" : EVAL "--axes btn good.npy");
        assert_done(&outcome, "--axes");
        struct json *root = json_parse(outcome.out);
        for (size_t term = 0; term < 3; ++term) {
            const struct json *object = json_item(json_get(root, "terms", JSON_ARRAY), term);
            ck_assert_double_eq_tol(json_get(object, "value", JSON_NUMBER)->number, expected[term],
                                    1e-5 * expected[term]);
        }
        json_free(root);
    }
}
END_TEST

/* [B, T, N] of a file with the axes (2, 3) or (2, 3, 4). */
static const struct named {
    const char *axes;
    bool three;
    int shape[3];
} named[] = {
    { "tn", false, { 1, 2, 3 } },  { "nt", false, { 1, 3, 2 } },  { "bn", false, { 2, 1, 3 } },
    { "nb", false, { 3, 1, 2 } },  { "bt", false, { 2, 3, 1 } },  { "tb", false, { 3, 2, 1 } },
    { "btn", false, { 1, 2, 3 } }, { "ntb", false, { 1, 3, 2 } }, { "tbn", false, { 1, 2, 3 } },
    { "tbn", true, { 3, 2, 4 } },  { "nbt", true, { 3, 4, 2 } },  { "tnb", true, { 4, 2, 3 } },
};
enum { NAMED_COUNT = sizeof named / sizeof *named };

START_TEST(axes_of_two_and_three)
{
    static struct outcome outcome;
    static const float data[24] = { 1, 2, 3, 4, 5, 6, 7 };
    char line[128];
    write_npy("two.npy", "<f4", "(2, 3)", data, 24);
    write_npy("three.npy", "<f4", "(2, 3, 4)", data, sizeof data);
    snprintf(line, sizeof line, "eval --device cpu --json --axes %s %s.npy", named[_i].axes,
             named[_i].three ? "three" : "two");
    run(&outcome, line);
    assert_done(&outcome, line);
    struct json *root = json_parse(outcome.out);
    for (size_t k = 0; k < 3; ++k)
        ck_assert_double_eq(json_item(json_get(root, "shape", JSON_ARRAY), k)->number, named[_i].shape[k]);
    json_free(root);
    assert_refused("eval --device cpu --axes nt three.npy", 2,
                   "three.npy: it has 3 axes; expected 2, as --axes nt names");
    assert_refused("eval --device cpu --axes nt --reference three.npy two.npy", 2,
                   "three.npy: it has 3 axes");
}
END_TEST

/* ---- Files of other kinds ---- */

#define PADDED(text) text "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define MEMBER(length, name)                                    \
    "PK\3\4"                                                    \
    "\24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" length "\0" \
    "\0\0" name "data"
#define FOREIGN(bytes, what, remedy)           \
    {                                          \
        bytes, sizeof(bytes) - 1, what, remedy \
    }

static const struct foreign {
    const char *bytes;
    size_t length;
    const char *what, *remedy;
} foreign[] = {
    FOREIGN(MEMBER("\5", "a.npy"), "an .npz archive", "numpy.save"),
    FOREIGN(MEMBER("\17", "archive/data.pkl"), "a zip archive", "unpack"),
    FOREIGN(MEMBER("\20", "archive/data.pkl"), "a file of PyTorch", "torch.load"),
    FOREIGN(MEMBER("\377", "a.npy"), "a zip archive", "unpack"),
    FOREIGN("PK\3\4", "a zip archive", "unpack"),
    FOREIGN("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a Git LFS pointer",
            "git lfs pull"),
    FOREIGN(PADDED("\x89HDF\r\n\x1a\n"), "an HDF5 file", "h5py"),
    FOREIGN(PADDED("MATLAB 7.3 MAT-file, Platform: GLNXA64"), "a MATLAB 7.3 file", "h5py"),
    FOREIGN(PADDED("MATLAB 5.0 MAT-file, Platform: GLNXA64"), "a MATLAB file", "loadmat"),
    FOREIGN(PADDED("\x1f\x8b\x08"), "compressed with gzip", "gunzip"),
    FOREIGN(PADDED("BZh91AY&SY"), "compressed with bzip2", "bunzip2"),
    FOREIGN(PADDED("\xfd"
                   "7zXZ"),
            "compressed with xz", "unxz"),
    FOREIGN(PADDED("\x28\xb5\x2f\xfd"), "compressed with zstd", "unzstd"),
    FOREIGN(PADDED("\x80\x04\x95"), "a Python pickle", "numpy.save"),
    FOREIGN(PADDED("cnumpy.core.multiarray\n_reconstruct\n"), "a Python pickle", "numpy.save"),
    FOREIGN("%%MatrixMarket matrix coordinate real general\n3 3 1\n1 1 2\n", "a Matrix Market file",
            "mmread"),
    FOREIGN("<!DOCTYPE html>\n<html>\n", "a web page", "download"),
    FOREIGN("1.5,2.5,3.5\r\n4,5,6\r\n", "text", "numpy.loadtxt"),
};
enum { FOREIGN_COUNT = sizeof foreign / sizeof *foreign };

START_TEST(foreign_files)
{
    static struct outcome outcome;
    char message[128];
    write_file("foreign.npy", foreign[_i].bytes, foreign[_i].length);
    snprintf(message, sizeof message, "ratecl: foreign.npy: it is %s", foreign[_i].what);
    assert_refused("eval --device cpu foreign.npy", 2, message);
    assert_refused("eval --device cpu foreign.npy", 2, "; expected a NumPy file (.npy): ");
    assert_refused("eval --device cpu foreign.npy", 2, foreign[_i].remedy);
    run_from(&outcome, "foreign.npy", "eval --device cpu -");
    ck_assert_int_eq(outcome.status, 2);
    snprintf(message, sizeof message, "ratecl: standard input: it is %s", foreign[_i].what);
    ck_assert_ptr_nonnull(strstr(outcome.err, message));
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
    { "{'descr': '<i3', " ORDER SHAPE "}", "'<i3'" },
    { "{'descr': '<float32', " ORDER SHAPE "}", "'<float32'" },
    { "{'descr': '<<f4', " ORDER SHAPE "}", "'<<f4'" },
    { "{'descr': '<', " ORDER SHAPE "}", "'<'" },
    { "{'descr': 'Float32', " ORDER SHAPE "}", "'Float32'" },
    { "{'descr': 'float128', " ORDER SHAPE "}", "'float128'" },
    { "{'descr': '<f16', " ORDER SHAPE "}", "'<f16'" },
    { "{b'descr': '<f4', " ORDER SHAPE "}", "'b'" },
    { "{uu'descr': '<f4', " ORDER SHAPE "}", "'u'" },
    { "{u 'descr': '<f4', " ORDER SHAPE "}", "'u'" },
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
    assert_refused("eval --device cpu pipe", 2,
                   "ratecl: pipe: it is a pipe or a device; expected a regular file in NumPy's format, or - "
                   "for standard input");
    assert_refused("eval --device cpu /dev/zero", 2, "/dev/zero: it is a pipe or a device");
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
    tcase_add_loop_test(cases, names_of_types, 0, NAME_COUNT);
    tcase_add_test(cases, big_endian_letters);
    tcase_add_test(cases, bytes_of_a_bool);
    tcase_add_loop_test(cases, large_integers, 0, INTEGER_COUNT);
    tcase_add_test(cases, integer_weights);
    tcase_add_test(cases, standard_input);
    tcase_add_test(cases, no_standard_input);
    tcase_add_test(cases, axes);
    tcase_add_loop_test(cases, axes_of_two_and_three, 0, NAMED_COUNT);
    tcase_add_loop_test(cases, foreign_files, 0, FOREIGN_COUNT);
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
