/* SPDX-License-Identifier: Apache-2.0 */
/* The command: options, terms, output, exit statuses, devices. */
#define _GNU_SOURCE /* unshare() */

#include "command_json.h"
#include "command_terminal.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#endif

enum { T = 5, N = 3, T1 = 4 };

/* Small rates with one silent step; the first neuron of `flat` is constant. */
static const float states[T][N] = { { 1, 2, 4 }, { 0, 0, 0 }, { 3, 1, 0.5F }, { 2, 2, 6 }, { 0.25F, 5, 1 } };
static const float reference[T1][N] = { { 2, 1, 3 }, { 1, 4, 1 }, { 0, 2, 2 }, { 5, 0, 1 } };
static const float flat[T1][N] = { { 2, 1, 3 }, { 2, 4, 1 }, { 2, 2, 2 }, { 2, 0, 1 } };
static const float weights[N][N] = { { 1, -2, 0.5F }, { 3, 0.25F, -1 }, { 0, 2, 1 } };
static const float negative[2][N] = { { 1, 2, 3 }, { 4, -5, 6 } };
static const float unknown[2][N] = { { 1, 2, 3 }, { 4, NAN, 6 } };

/* One state of `states` is negative, and the last neuron is silent. */
static const float signed_silent[T][N] = {
    { 1, 2, 0 }, { 0, -0.5F, 0 }, { 3, 1, 0 }, { 2, 2, 0 }, { 0.25F, 5, 0 }
};
static const float unknown_weights[N][N] = { { 1, -2, 0.5F }, { 3, 0.25F, NAN }, { 0, 2, 1 } };

static struct outcome outcome;

static void write_inputs(void)
{
    write_npy("s.npy", "<f4", "(5, 3)", states, sizeof states);
    write_npy("r.npy", "<f4", "(4, 3)", reference, sizeof reference);
    write_npy("flat.npy", "<f4", "(4, 3)", flat, sizeof flat);
    write_npy("still.npy", "<f4", "(1, 3)", flat, sizeof flat[0]);
    write_npy("w.npy", "<f4", "(3, 3)", weights, sizeof weights);
    write_npy("negative.npy", "<f4", "(2, 3)", negative, sizeof negative);
    write_npy("nan.npy", "<f4", "(2, 3)", unknown, sizeof unknown);
    write_npy("step.npy", "<f4", "(1, 3)", states, sizeof states[0]);
    write_npy("signed.npy", "<f4", "(5, 3)", signed_silent, sizeof signed_silent);
    write_npy("nan-w.npy", "<f4", "(3, 3)", unknown_weights, sizeof unknown_weights);
}

/* ---- The definitions, at their defaults ---- */

static double mean(const float *S, int steps, int i)
{
    double sum = 0;
    for (int t = 0; t < steps; t++)
        sum += S[t * N + i];
    return sum / steps;
}

static double variance(const float *S, int steps, int i)
{
    double sum = 0;
    for (int t = 0; t < steps; t++)
        sum += pow(S[t * N + i] - mean(S, steps, i), 2);
    return sum / steps;
}

static double mean_square(const float *S, int steps, int i)
{
    double sum = 0;
    for (int t = 0; t < steps; t++)
        sum += pow(S[t * N + i], 2);
    return sum / steps;
}

static double firing_rate(void)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += pow(mean(states[0], T, i), 2);
    return sum / N;
}

static double firing_rate_dist(int ddof)
{
    double mubar = 0, sum = 0;
    for (int i = 0; i < N; i++)
        mubar += mean(states[0], T, i) / N;
    for (int i = 0; i < N; i++)
        sum += pow(mean(states[0], T, i) - mubar, 2);
    return sqrt(sum / (N - ddof));
}

static double state_prediction(int tau)
{
    double sum = 0;
    for (int t = 0; t + tau < T; t++)
        for (int i = 0; i < N; i++)
            sum += pow(states[t][i] - states[t + tau][i], 2);
    return sum / ((T - tau) * N);
}

static double hebbian(void)
{
    double sum = 0;
    for (int t = 0; t < T; t++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                sum += weights[i][j] * states[t][i] * states[t][j];
    return fabs(sum / T);
}

static double entropy(double reg)
{
    double sum = 0, squares = 0;
    for (int t = 0; t < T; t++) {
        const double Z = states[t][0] + states[t][1] + states[t][2];
        for (int i = 0; i < N; i++)
            sum -= states[t][i] > 0 ? states[t][i] / Z * log(states[t][i] / Z) : 0;
    }
    for (int i = 0; i < N; i++)
        squares += mean_square(states[0], T, i);
    return sum / T + reg * squares;
}

/* Symmetric, of one neuron, with its regularisation */
static double neuron_kl(const float *other, int i, double reg)
{
    const double v0 = variance(states[0], T, i), v1 = variance(other, T1, i);
    const double square = pow(mean(states[0], T, i) - mean(other, T1, i), 2);
    return 0.25 * ((v0 + square) / v1 + (v1 + square) / v0 - 2) +
           reg * (mean_square(states[0], T, i) + mean_square(other, T1, i));
}

static double population_kl(double reg)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        sum += neuron_kl(reference[0], i, 0);
        squares += mean_square(states[0], T, i) + mean_square(reference[0], T1, i);
    }
    return sum / N + reg * squares;
}

/* ---- Help ---- */

static void assert_prints(const char *line, const char *fragment)
{
    run(&outcome, line);
    assert_done(&outcome, line);
    ck_assert_str_eq(outcome.err, "");
    ck_assert_msg(strstr(outcome.out, fragment), "ratecl %s lacks \"%s\": %s", line, fragment, outcome.out);
}

START_TEST(help_and_version)
{
    assert_prints("--version", "ratecl ");
    assert_prints("--help", "selftest");
    assert_prints("eval --help", "--reference S1.npy");
    assert_prints("eval --help", "--grad-reference OUT.npy");
    assert_prints("eval --json --help absent.npy", "Usage: ratecl eval [options] STATES.npy");
    assert_prints("devices --help", "--json");
    assert_prints("selftest --help", "--device D");
    assert_prints("tune --help", "--budget SECONDS");
    assert_prints("-V", "ratecl ");
    assert_prints("-h", "selftest");
    assert_prints("help", "selftest");
    assert_prints("help help", "selftest");
    assert_prints("eval -h", "--axes ORDER");
    assert_prints("help eval", "--axes ORDER");
    assert_prints("help tune", "--budget SECONDS");
}
END_TEST

/* Whatever it is printed to. */
START_TEST(help_is_narrow)
{
    static const char *const lines[] = { "help", "help eval", "help devices", "help selftest", "help tune" };
    for (size_t k = 0; k < sizeof lines / sizeof *lines; ++k) {
        run(&outcome, lines[k]);
        assert_done(&outcome, lines[k]);
        assert_fits(outcome.out, 80, lines[k]);
    }
}
END_TEST

/* ---- Wrong command lines ---- */

static const struct wrong {
    const char *line, *message;
} wrong[] = {
    { "evaluate s.npy", "evaluate: unknown command" },
    { "help evaluate", "evaluate: unknown command" },
    { "help eval devices", "devices: one command is expected" },
    { "eval --axes tnx s.npy", "--axes: \"tnx\": expected the letters b, t and n" },
    { "eval --axes ttn s.npy", "\"ttn\": expected" },
    { "eval --axes ntt s.npy", "\"ntt\": expected" },
    { "eval --axes nn s.npy", "\"nn\": expected" },
    { "eval --axes n s.npy", "\"n\": expected" },
    { "eval --axes btnb s.npy", "\"btnb\": expected" },
    { "eval --axes= s.npy", "\"\": expected" },
    { "eval --axes tn --axes nt s.npy", "--axes: given twice" },
    { "eval - --reference -", "standard input is given 2 times; expected once" },
    { "tune s.npy", "no file or other operand is expected" },
    { "tune --budget 0", "--budget 0: expected a positive number" },
    { "tune --budget 1m", "--budget 1m: expected a positive number" },
    { "tune --budget inf", "--budget inf: expected a positive number" },
    { "tune --precision f16", "--precision f16: expected f32 or f64" },
    { "--json", "--json: unknown command" },
    { "eval", "STATES.npy: is missing" },
    { "eval --device cpu", "STATES.npy: is missing" },
    { "eval --device", "--device: a value is missing" },
    { "eval s.npy s.npy", "one file is expected" },
    { "eval --jso s.npy", "--jso: unknown option" },
    { "eval --json=1 s.npy", "--json: takes no value" },
    { "eval --json --json s.npy", "--json: given twice" },
    { "eval --device cpu --device=cpu s.npy", "--device: given twice" },
    { "eval --gradient g.npy s.npy", "--gradient: unknown option" },
    { "eval -x s.npy", "-x: unknown option" },
    { "eval \x1b[31mred\x1b]0;title\x07.npy", "ratecl: \\x1b[31mred\\x1b]0;title\\x07.npy: No such file" },
    { "eval a\nratecl:\tb.npy", "ratecl: a\\x0aratecl:\\x09b.npy: No such file" },
    { "eval \xc2\x9b\xff\x7f\xc3\xa4.npy", "ratecl: \\xc2\\x9b\\xff\\x7f\xc3\xa4.npy: No such file" },
    { "eval --\x1b[2J s.npy", "--\\x1b[2J: unknown option" },
    { "\x1b[2J", "\\x1b[2J: unknown command" },
    { "eval --term \x1b[2J\n s.npy", "\\x1b[2J\\x0a" },
    { "eval --precision \x1b[2J s.npy", "\\x1b[2J" },
    { "eval -- --json", "--json: No such file" },
    { "eval --precision f16 s.npy", "\"f16\": expected f32 or f64" },
    { "eval --term rates s.npy", "unknown criterion \"rates\"" },
    { "eval --term firing_rate:metric=sd s.npy", "expected l2 or l1" },
    { "eval --term firing_rate:tau=1 s.npy", "unknown key \"tau\"" },
    { "eval --term entropy:eps=-1 s.npy", "eps is \"-1\"" },
    { "eval --term= s.npy", "unknown criterion" },
    { "eval --device cpu --term hebbian s.npy", "hebbian needs --weights" },
    { "eval --device cpu --term population_kl s.npy", "population_kl needs --reference" },
    { "eval --device cpu --term entropy --weights w.npy s.npy", "--weights: no term uses it" },
    { "eval --device cpu --term hebbian --weights w.npy --reference r.npy s.npy",
      "--reference: no term uses it" },
    { "eval --device cpu --term state_prediction:tau=5 s.npy", "tau" },
    { "eval --device cpu --term firing_rate_dist:ddof=3 s.npy", "ddof" },
    { "eval --device cpu --quiet --term population_kl:reduction=none --reference r.npy s.npy", "--quiet" },
    { "devices s.npy", "no file" },
    { "devices --device cpu", "unknown option" },
    { "selftest --json", "unknown option" },
    { "selftest --device cpu extra", "no file" },
};

START_TEST(wrong_command_lines)
{
    write_inputs();
    assert_refused(wrong[_i].line, 2, wrong[_i].message);
}
END_TEST

START_TEST(no_command)
{
    run(&outcome, "");
    ck_assert_int_eq(outcome.status, 2);
    ck_assert_str_eq(outcome.out, "");
    ck_assert_ptr_nonnull(strstr(outcome.err, "Usage: ratecl"));
}
END_TEST

START_TEST(no_device)
{
    write_inputs();
    assert_refused("eval --device opencl:no-such-device s.npy", 3, "no-such-device");
    assert_refused("eval --device opencl:77.0 s.npy", 3, "77.0");
    assert_refused("selftest --device opencl:no-such-device", 3, "no-such-device");
    assert_refused("tune --device opencl:no-such-device", 3, "no-such-device");
    ck_assert_int_eq(setenv("RATECL_DEVICE", "opencl:no-such-device", 1), 0);
    assert_refused("eval s.npy", 3, "no-such-device");
    run(&outcome, "eval --device cpu --quiet s.npy");
    assert_done(&outcome, "--device overrides RATECL_DEVICE");
    assert_prints("devices", "RATECL_DEVICE is \"opencl:no-such-device\"");
    ck_assert_int_eq(setenv("RATECL_DEVICE", "cpu", 1), 0);
    assert_prints("eval s.npy", "cpu: ");
    assert_prints("devices", "* cpu is chosen without --device: RATECL_DEVICE is \"cpu\"");
    ck_assert_int_eq(unsetenv("RATECL_DEVICE"), 0);
}
END_TEST

/* ---- Failed evaluations ---- */

START_TEST(failed_evaluations)
{
    write_inputs();
    assert_refused("eval --device cpu --json --term entropy negative.npy", 1, "[0,1,1]");
    assert_refused("eval --device cpu --term firing_rate nan.npy", 1, "[0,1,1]");
    assert_refused("eval --device cpu nan.npy", 1, "states: 1 of 6 elements are not finite");
    assert_refused("eval --device cpu --quiet --term population_kl --reference flat.npy s.npy", 1,
                   "variance");
    assert_refused(
        "eval --device cpu --quiet --term population_kl:degenerate=skip --reference still.npy s.npy", 1,
        "nothing is left to compare");
}
END_TEST

/* ---- Default terms that the values do not allow ---- */

static const struct partial {
    const char *inputs, *kept[6], *left_out[3]; /* what is said of those that are left out */
} partial[] = {
    { "negative.npy",
      { "firing_rate", "firing_rate_dist", "state_prediction" },
      { "ratecl: entropy is left out: states: 1 of 6 elements are negative, the first at [0,1,1]: -5\n" } },
    { "--reference flat.npy s.npy",
      { "firing_rate", "firing_rate_dist", "state_prediction", "entropy" },
      { "ratecl: population_kl is left out: 1 of 3 neurons have no variance (states: 0, reference: 1), the "
        "first at "
        "[0,0,0] of reference" } },
    { "--reference r.npy --weights w.npy signed.npy",
      { "firing_rate", "firing_rate_dist", "state_prediction", "hebbian" },
      { "ratecl: entropy is left out: states: 1 of 15 elements are negative, the first at [0,1,1]: -0.5\n",
        "ratecl: population_kl is left out: 1 of 3 neurons have no variance (states: 1, reference: 0)" } },
    { "step.npy",
      { "firing_rate", "firing_rate_dist", "entropy" },
      { "ratecl: state_prediction is left out: it compares time steps, and the states have one\n" } },
    { "--weights nan-w.npy --reference r.npy signed.npy",
      { "firing_rate", "firing_rate_dist", "state_prediction" },
      { "ratecl: entropy is left out: states: 1 of 15",
        "ratecl: hebbian is left out: weights: 1 of 9 elements are not "
        "finite",
        "ratecl: population_kl is left out: 1 of 3" } },
};
enum { PARTIAL_COUNT = sizeof partial / sizeof *partial };

static struct json *evaluate(const char *line);
static const struct json *term_of(const struct json *root, size_t index);

static void assert_partial(const struct partial *expected, const char *device)
{
    char line[256];
    size_t kept = 0, left_out = 0;
    double total = 0;
    snprintf(line, sizeof line, "eval --json --device %s %s", device, expected->inputs);
    struct json *root = evaluate(line);
    for (; expected->kept[kept]; ++kept) {
        const struct json *term = term_of(root, kept);
        ck_assert_str_eq(json_get(term, "criterion", JSON_STRING)->string, expected->kept[kept]);
        total += json_get(term, "value", JSON_NUMBER)->number;
    }
    ck_assert_uint_eq(json_count(json_get(root, "terms", JSON_ARRAY)), kept);
    ck_assert_double_eq(json_get(root, "total", JSON_NUMBER)->number, total);
    json_free(root);
    for (; left_out < 3 && expected->left_out[left_out]; ++left_out)
        ck_assert_msg(strstr(outcome.err, expected->left_out[left_out]), "ratecl %s: no \"%s\" in: %s", line,
                      expected->left_out[left_out], outcome.err);
    size_t lines = 0;
    for (const char *at = outcome.err; (at = strchr(at, '\n')) != NULL; ++at)
        ++lines;
    ck_assert_msg(lines == left_out, "ratecl %s: not %zu messages: %s", line, left_out, outcome.err);
}

START_TEST(partial_defaults)
{
    write_inputs();
    assert_partial(&partial[_i], "cpu");
    run(&outcome, "devices --json");
    struct json *root = json_parse(outcome.out);
    assert_partial(&partial[_i],
                   json_get(json_item(json_get(root, "devices", JSON_ARRAY), 0), "id", JSON_STRING)->string);
    json_free(root);
}
END_TEST

/* The values are those of the terms alone, in each form of output. */
START_TEST(partial_values)
{
    char partial_out[OUTPUT_MAX];
    static const char *const forms[] = { "", "--quiet ", "--json ", "--precision f64 --quiet " };
    write_inputs();
    for (size_t k = 0; k < sizeof forms / sizeof *forms; ++k) {
        char line[256];
        snprintf(line, sizeof line, "eval --device cpu %snegative.npy", forms[k]);
        run(&outcome, line);
        assert_done(&outcome, line);
        ck_assert_ptr_nonnull(strstr(outcome.err, "entropy is left out: "));
        memcpy(partial_out, outcome.out, sizeof partial_out);
        snprintf(line, sizeof line,
                 "eval --device cpu %s--term firing_rate --term firing_rate_dist --term state_prediction "
                 "negative.npy",
                 forms[k]);
        run(&outcome, line);
        assert_done(&outcome, line);
        ck_assert_str_eq(outcome.out, partial_out);
        ck_assert_str_eq(outcome.err, "");
    }
}
END_TEST

/* ---- JSON ---- */

static struct json *evaluate(const char *line)
{
    run(&outcome, line);
    assert_done(&outcome, line);
    return json_parse(outcome.out);
}

static const struct json *term_of(const struct json *root, size_t index)
{
    return json_item(json_get(root, "terms", JSON_ARRAY), index);
}

static void assert_term(const struct json *term, const char *criterion, size_t members, double expected,
                        double tolerance)
{
    ck_assert_str_eq(json_get(term, "criterion", JSON_STRING)->string, criterion);
    ck_assert_uint_eq(json_count(term), members);
    const double value = json_get(term, "value", JSON_NUMBER)->number;
    ck_assert_msg(fabs(value - expected) <= tolerance * fabs(expected), "%s is %.17g, expected %.17g",
                  criterion, value, expected);
}

static void assert_default_terms(const struct json *root, double tolerance)
{
    const double expected[] = { firing_rate(), firing_rate_dist(0), state_prediction(1),
                                entropy(10),   hebbian(),           population_kl(1e-3) };
    static const char *const names[] = { "firing_rate", "firing_rate_dist", "state_prediction",
                                         "entropy",     "hebbian",          "population_kl" };
    double total = 0;
    ck_assert_uint_eq(json_count(json_get(root, "terms", JSON_ARRAY)), 6);
    for (size_t k = 0; k < 6; k++) {
        const struct json *term = term_of(root, k);
        assert_term(term, names[k], k < 2 ? 4 : 3, expected[k], tolerance);
        ck_assert_double_eq(json_get(term, "weight", JSON_NUMBER)->number, 1);
        total += json_get(term, "value", JSON_NUMBER)->number;
    }
    ck_assert_str_eq(json_get(term_of(root, 0), "metric", JSON_STRING)->string, "l2");
    ck_assert_str_eq(json_get(term_of(root, 1), "metric", JSON_STRING)->string, "sd");
    ck_assert_double_eq_tol(json_get(root, "total", JSON_NUMBER)->number, total, 1e-12 * total);
}

START_TEST(json_defaults)
{
    write_inputs();
    struct json *root = evaluate("eval --json --device=cpu s.npy --weights w.npy --reference=r.npy");
    ck_assert_str_eq(outcome.err, "");
    ck_assert_uint_eq(json_count(root), 5);
    ck_assert_str_eq(json_get(root, "precision", JSON_STRING)->string, "f32");
    ck_assert_int_eq(strncmp(json_get(root, "device", JSON_STRING)->string, "cpu: ", 5), 0);
    const struct json *shape = json_get(root, "shape", JSON_ARRAY);
    ck_assert_uint_eq(json_count(shape), 3);
    ck_assert_double_eq(json_item(shape, 0)->number, 1);
    ck_assert_double_eq(json_item(shape, 1)->number, T);
    ck_assert_double_eq(json_item(shape, 2)->number, N);
    assert_default_terms(root, 1e-5);
    json_free(root);

    root = evaluate("eval --json --device cpu --precision=f64 --weights w.npy --reference r.npy -- s.npy");
    ck_assert_str_eq(json_get(root, "precision", JSON_STRING)->string, "f64");
    assert_default_terms(root, 1e-12);
    json_free(root);
}
END_TEST

START_TEST(json_without_other_inputs)
{
    write_inputs();
    struct json *root = evaluate("eval --json --device cpu s.npy");
    ck_assert_uint_eq(json_count(json_get(root, "terms", JSON_ARRAY)), 4);
    json_free(root);
    root = evaluate("eval --json --device cpu step.npy");
    ck_assert_uint_eq(json_count(json_get(root, "terms", JSON_ARRAY)), 3);
    ck_assert_str_eq(json_get(term_of(root, 2), "criterion", JSON_STRING)->string, "entropy");
    json_free(root);
}
END_TEST

START_TEST(json_parameters)
{
    write_inputs();
    struct json *root =
        evaluate("eval --json --device cpu --precision f64 --term firing_rate_dist:ddof=1,weight=0.1 "
                 "--term state_prediction:tau=2,weight=-3 --term entropy:reg=0 s.npy");
    assert_term(term_of(root, 0), "firing_rate_dist", 5, firing_rate_dist(1), 1e-12);
    ck_assert_double_eq(json_get(term_of(root, 0), "ddof", JSON_NUMBER)->number, 1);
    ck_assert_double_eq(json_get(term_of(root, 0), "weight", JSON_NUMBER)->number, 0.1);
    ck_assert_ptr_nonnull(strstr(outcome.out, "\"weight\": 0.1,"));
    assert_term(term_of(root, 1), "state_prediction", 4, state_prediction(2), 1e-12);
    ck_assert_double_eq(json_get(term_of(root, 1), "tau", JSON_NUMBER)->number, 2);
    assert_term(term_of(root, 2), "entropy", 4, entropy(0), 1e-12);
    ck_assert_double_eq(json_get(term_of(root, 2), "reg", JSON_NUMBER)->number, 0);
    const double total = 0.1 * firing_rate_dist(1) - 3 * state_prediction(2) + entropy(0);
    ck_assert_double_eq_tol(json_get(root, "total", JSON_NUMBER)->number, total, 1e-12 * fabs(total));
    json_free(root);
}
END_TEST

START_TEST(json_lists)
{
    write_inputs();
    struct json *root = evaluate("eval --json --device cpu --precision f64 --reference r.npy "
                                 "--term population_kl:reduction=none --term firing_rate "
                                 "--term population_kl:symmetric=false,log=sigma,reg=0 s.npy");
    const struct json *list = json_get(term_of(root, 0), "value", JSON_ARRAY);
    ck_assert_uint_eq(json_count(list), N);
    for (int i = 0; i < N; i++) {
        const double expected = neuron_kl(reference[0], i, 1e-3);
        ck_assert_double_eq_tol(json_item(list, (size_t)i)->number, expected, 1e-12 * expected);
    }
    ck_assert_str_eq(json_get(term_of(root, 0), "reduction", JSON_STRING)->string, "none");
    ck_assert_ptr_null(json_member(term_of(root, 0), "skipped"));
    json_get(term_of(root, 2), "symmetric", JSON_FALSE);
    ck_assert_str_eq(json_get(term_of(root, 2), "log", JSON_STRING)->string, "sigma");
    const double total = firing_rate() + json_get(term_of(root, 2), "value", JSON_NUMBER)->number;
    ck_assert_double_eq_tol(json_get(root, "total", JSON_NUMBER)->number, total, 1e-12 * total);
    json_free(root);
}
END_TEST

START_TEST(json_skipped)
{
    write_inputs();
    struct json *root = evaluate("eval --json --device cpu --precision f64 --reference flat.npy "
                                 "--term population_kl:degenerate=skip,reg=0 s.npy");
    ck_assert_double_eq(json_get(term_of(root, 0), "skipped", JSON_NUMBER)->number, 1);
    const double expected = (neuron_kl(flat[0], 1, 0) + neuron_kl(flat[0], 2, 0)) / 2;
    assert_term(term_of(root, 0), "population_kl", 6, expected, 1e-12);
    json_free(root);
    assert_prints("eval --device cpu --reference flat.npy --term population_kl:degenerate=skip s.npy",
                  "1 of 3 neurons left out");
    static struct outcome quiet;
    run(&quiet, "eval --quiet --device cpu --reference flat.npy --term population_kl:degenerate=skip s.npy");
    ck_assert_int_eq(quiet.status, 0);
    ck_assert_ptr_nonnull(strstr(quiet.err, "population_kl: 1 of 3 neurons left out"));
}
END_TEST

/* Every number reads back to the double that the library gave: printed with 17 digits it is the same, and
 * with the digits that are printed it is the shortest of 15 to 17. */
START_TEST(json_numbers)
{
    write_inputs();
    struct json *root = evaluate("eval --json --device cpu --precision f64 s.npy");
    int longer = 0;
    for (size_t k = 0; k < 4; k++) {
        char shorter[64];
        const double value = json_get(term_of(root, k), "value", JSON_NUMBER)->number;
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(shorter, sizeof shorter, "\"value\": %.*g}", digits, value);
            if (strstr(outcome.out, shorter))
                break;
            ck_assert_msg(digits < 17, "%.17g is not printed so that it reads back", value);
            snprintf(shorter, sizeof shorter, "%.*g", digits, value);
            ck_assert_double_ne(atof(shorter), value);
            longer++;
        }
    }
    ck_assert_int_gt(longer, 0);
    json_free(root);
}
END_TEST

/* ---- For people and for scripts ---- */

START_TEST(table)
{
    static const char *const lines[] = { "device      cpu: ",
                                         "states      s.npy\n",
                                         "shape       1 x 5 x 3  (batch x time x neuron)\n",
                                         "firing_rate (l1, target=2) ",
                                         "population_kl (symmetric=false) ",
                                         "population_kl (reduction=none) ",
                                         "3 values\n",
                                         "    smallest " };
    char total[64];
    write_inputs();
    run(&outcome, "eval --device cpu --reference r.npy --term firing_rate:metric=l1,target=2,weight=2 "
                  "--term population_kl:symmetric=false --term population_kl:reduction=none s.npy");
    assert_done(&outcome, "for the table");
    ck_assert_str_eq(outcome.err, "");
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++)
        ck_assert_msg(strstr(outcome.out, lines[k]), "no \"%s\" in:\n%s", lines[k], outcome.out);

    run(&outcome, "eval --device cpu --precision f64 --term firing_rate:weight=2 s.npy");
    snprintf(total, sizeof total, "%.15g\n", 2 * firing_rate());
    ck_assert_msg(strstr(outcome.out, total), "no total %s in:\n%s", total, outcome.out);
}
END_TEST

/* What `outcome` has on a terminal and elsewhere: no control characters but those of lines. */
static void assert_printable(const char *text)
{
    for (; *text; ++text)
        ck_assert_msg((unsigned char)*text >= 0x20 || *text == '\n' || *text == '\r', "0x%02x is printed",
                      (unsigned)*text);
}

START_TEST(names_of_files)
{
    write_inputs();
    write_npy("\x1b[31mred\n\xff.npy", "<f4", "(5, 3)", states, sizeof states);
    run(&outcome, "eval --device cpu \x1b[31mred\n\xff.npy");
    assert_done(&outcome, "on a name with control characters");
    assert_printable(outcome.out);
    ck_assert_ptr_nonnull(strstr(outcome.out, "states      \\x1b[31mred\\x0a\\xff.npy\n"));
}
END_TEST

/* Labels, devices and paths are wrapped, and numbers stay whole. */
START_TEST(tables_fit_terminals)
{
    static const char *const lines[] = {
        "devices",
        "eval --device cpu s.npy",
        "eval --device cpu "
        "./././././././././././././././././././././././././././././././././././././././././s.npy",
        "eval --device cpu --precision f64 --reference r.npy --term entropy:eps=0.123456 --term "
        "population_kl:symmetric=false,reg=0.0123456,reduction=sum,log=sigma,var_floor=0.0123456,"
        "degenerate=skip,weight=-1.23456e-100 s.npy",
        "eval --device cpu --precision f64 --reference r.npy --term population_kl:reduction=none s.npy",
        "selftest --device cpu",
    };
    write_inputs();
    for (size_t k = 0; k < sizeof lines / sizeof *lines; ++k) {
        run_on_terminal(&outcome, 80, lines[k]);
        assert_done(&outcome, lines[k]);
        assert_fits(outcome.out, 80, lines[k]);
        assert_printable(outcome.out);
    }
    run_on_terminal(&outcome, 60, lines[0]);
    assert_fits(outcome.out, 60, lines[0]);
    run_on_terminal(&outcome, 60, lines[3]);
    assert_fits(outcome.out, 60, lines[3]);
    run(&outcome, lines[3]);
    ck_assert_ptr_nonnull(
        strstr(outcome.out, "log=sigma, var_floor=0.0123456, degenerate=skip)  -1.23456e-100 "));
}
END_TEST

/* A stream that pauses shows how much of it is read. */
START_TEST(progress)
{
    enum { STEPS = 40000, HALF = STEPS / 2 };
    static float wide[STEPS * N];
    static char shown[OUTPUT_MAX];
    int inner, ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    const int outer = open_terminal(80, &inner);
    FILE *out = tmpfile();
    ck_assert_ptr_nonnull(out);
    const pid_t child = start("eval --device cpu -", ends[0], fileno(out), inner);
    close(ends[0]);
    close(inner);

    char header[128];
    unsigned char beginning[256];
    snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }\n", STEPS,
             N);
    for (int t = 0; t < STEPS; ++t)
        memcpy(wide + t * N, states[t % T], sizeof states[0]);
    const size_t length = npy_bytes(beginning, 1, header, "", 0);
    ck_assert_int_eq(write(ends[1], beginning, length), (ssize_t)length);
    ck_assert_int_eq(write(ends[1], wide, sizeof wide / 2), sizeof wide / 2);
    read_terminal(outer, "reading", shown);
    read_terminal(outer, "[", shown);
    read_terminal(outer, " %", shown);
    ck_assert_int_eq(write(ends[1], wide + HALF * N, sizeof wide / 2), sizeof wide / 2);
    close(ends[1]);
    read_terminal(outer, NULL, shown);
    ck_assert_int_eq(status_of(child), 0);
    assert_fits(shown, 80, "eval");
    close(outer);
    read_back(out, outcome.out);
    ck_assert_ptr_nonnull(strstr(outcome.out, "states      standard input\n"));
}
END_TEST

START_TEST(quiet)
{
    char *end;
    write_inputs();
    run(&outcome, "eval --quiet --device cpu --precision f64 --term state_prediction:weight=2 s.npy");
    assert_done(&outcome, "--quiet");
    ck_assert_str_eq(outcome.err, "");
    ck_assert_double_eq_tol(strtod(outcome.out, &end), 2 * state_prediction(1), 1e-12 * state_prediction(1));
    ck_assert_str_eq(end, "\n");
    /* The chosen device's driver, which compiles, has nothing to say either. */
    run(&outcome, "eval --quiet --reference r.npy --weights w.npy --grad quiet.npy s.npy");
    assert_done(&outcome, "--quiet");
    ck_assert_str_eq(outcome.err, "");
    run(&outcome,
        "eval --quiet --device cpu --reference flat.npy --term population_kl:degenerate=skip s.npy");
    assert_done(&outcome, "--quiet");
    ck_assert_str_eq(outcome.err, "ratecl: population_kl: 1 of 3 neurons left out: a variance of 0\n");
    struct json *root = evaluate("eval --quiet --json --device cpu s.npy");
    ck_assert_uint_eq(json_count(root), 5);
    json_free(root);
}
END_TEST

/* ---- Output that cannot be written ---- */

static const char *const printing[] = { "--version",
                                        "--help",
                                        "eval --help",
                                        "devices",
                                        "devices --json",
                                        "eval --device cpu s.npy",
                                        "eval --device cpu --json s.npy",
                                        "eval --device cpu --quiet s.npy" };
enum { PRINTING_COUNT = sizeof printing / sizeof *printing };

static void assert_write_fails(int out, const char *line, int error)
{
    run_into(&outcome, out, line);
    ck_assert_msg(outcome.status == 1, "ratecl %s: status %d: %s", line, outcome.status, outcome.err);
    ck_assert_msg(strstr(outcome.err, "standard output: ") && strstr(outcome.err, strerror(error)),
                  "ratecl %s: %s", line, outcome.err);
}

START_TEST(failed_writes)
{
    int ends[2];
    write_inputs();
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(close(ends[0]), 0);
    assert_write_fails(ends[1], printing[_i], EPIPE);
    assert_write_fails(-1, printing[_i], EBADF);
#ifdef __linux__
    const int full = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(full, 0);
    assert_write_fails(full, printing[_i], ENOSPC);
    close(full);
#endif
    close(ends[1]);
}
END_TEST

/* ---- Devices ---- */

START_TEST(devices)
{
    run(&outcome, "devices --json");
    assert_done(&outcome, "devices --json");
    struct json *root = json_parse(outcome.out);
    const struct json *list = json_get(root, "devices", JSON_ARRAY);
    const size_t count = json_count(list);
    size_t chosen = 0;
    ck_assert_uint_ge(count, 1);
    for (size_t k = 0; k < count; k++)
        chosen += json_member(json_item(list, k), "chosen")->kind == JSON_TRUE;
    ck_assert_uint_eq(chosen, 1);
    ck_assert_str_eq(json_get(json_item(list, count - 1), "id", JSON_STRING)->string, "cpu");
    ck_assert_str_eq(json_get(json_item(list, count - 1), "kind", JSON_STRING)->string, "openmp");
    run(&outcome, "devices");
    assert_done(&outcome, "devices");
    for (size_t k = 0; k < count; k++)
        ck_assert_ptr_nonnull(strstr(outcome.out, json_get(json_item(list, k), "name", JSON_STRING)->string));
    ck_assert_ptr_nonnull(strstr(outcome.out, " is chosen without --device: "));
    json_free(root);
}
END_TEST

START_TEST(every_device)
{
    write_inputs();
    run(&outcome, "devices --json");
    struct json *root = json_parse(outcome.out);
    for (const struct json *device = json_get(root, "devices", JSON_ARRAY)->child; device;
         device = device->next) {
        char line[640], label[640];
        const char *id = json_get(device, "id", JSON_STRING)->string;
        snprintf(line, sizeof line, "eval --json --device %s --weights w.npy --reference r.npy s.npy", id);
        struct json *results = evaluate(line);
        snprintf(label, sizeof label, "%s: ", id);
        ck_assert_int_eq(strncmp(json_get(results, "device", JSON_STRING)->string, label, strlen(label)), 0);
        assert_default_terms(results, 1e-5);
        json_free(results);
    }
    json_free(root);
}
END_TEST

START_TEST(selftest)
{
    run(&outcome, "selftest --device cpu");
    assert_done(&outcome, outcome.out);
    ck_assert_ptr_null(strstr(outcome.out, "FAIL"));
    ck_assert_ptr_nonnull(strstr(outcome.out, "population_kl"));
    ck_assert_ptr_nonnull(strstr(outcome.out, "\nValues against their definitions:\n"));
    ck_assert_ptr_nonnull(strstr(outcome.out, "\nGradients against the CPU path's in f64:\n"));
    ck_assert_ptr_nonnull(strstr(outcome.out, "\nPASS\n"));
}
END_TEST

/* On the device that is chosen, if that is an OpenCL device. */
START_TEST(tune)
{
    char path[PATH_SIZE];
    assert_refused("tune --device cpu", 1, "nothing to tune");
    run(&outcome, "devices --json");
    struct json *root = json_parse(outcome.out);
    const bool opencl = json_count(json_get(root, "devices", JSON_ARRAY)) > 1;
    json_free(root);
    if (!opencl)
        return;
    assert_refused("tune --budget 0.001", 2, "RATECL_CACHE");
    ck_assert_int_eq(setenv("RATECL_CACHE", directory, 1), 0);
    root = evaluate("tune --json --budget 0.001");
    ck_assert_str_eq(outcome.err, "");
    ck_assert_uint_eq(json_count(json_get(root, "passes", JSON_ARRAY)), 4);
    for (size_t k = 0; k < 4; k++) {
        const struct json *pass = json_item(json_get(root, "passes", JSON_ARRAY), k);
        ck_assert_double_gt(json_get(pass, "before", JSON_NUMBER)->number, 0);
        ck_assert_double_gt(json_get(pass, "after", JSON_NUMBER)->number, 0);
    }
    ck_assert_str_eq(json_get(root, "file", JSON_STRING)->string, path_of("tuning.txt", path));
    ck_assert_int_eq(access(path, R_OK), 0);
    assert_prints("tune --budget 0.001", json_get(root, "parameters", JSON_STRING)->string);
    run_on_terminal(&outcome, 80, "tune --budget 0.001");
    assert_done(&outcome, "tune");
    assert_fits(outcome.out, 80, "tune");
    json_free(root);
    snprintf(path, sizeof path, "%s/a\x1b\x7f\xc2\x9b\xff", directory);
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
    assert_prints("tune --json --budget 0.001", "/a\\u001b\\u007f\\u009b\\ufffd/tuning.txt\"");
    assert_printable(outcome.out);
    ck_assert_int_eq(setenv("RATECL_CACHE", "", 1), 0);
}
END_TEST

/* ---- A full disk under the driver's cache ---- */

#ifdef __linux__

/* True if there is an OpenCL device of PoCL, which compiles in its cache folder alone. */
static bool has_pocl(void)
{
    run(&outcome, "devices --json");
    return strstr(outcome.out, "\"platform\": \"Portable Computing Language\"") != NULL;
}

/* Mount a file system of 64 KiB on the folder, for this process and its children, and fill it. */
static bool mount_full(const char *folder)
{
    char path[PATH_SIZE];
    static char block[1024];
    if (mkdir(folder, 0700) != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("full", folder, "tmpfs", 0, "size=64k") != 0)
        return false;
    path_of("full/filling", path);
    const int filling = open(path, O_WRONLY | O_CREAT, 0600);
    while (filling >= 0 && write(filling, block, sizeof block) > 0)
        ;
    close(filling);
    return filling >= 0;
}

START_TEST(full_cache)
{
    char folder[PATH_SIZE], message[2 * PATH_SIZE];
    path_of("full", folder);
    write_inputs();
    if (!has_pocl() || !mount_full(folder)) {
        printf("command: a full disk under the driver's cache skipped: no PoCL, or no right to mount\n");
        return;
    }
    ck_assert_int_eq(setenv("POCL_CACHE_DIR", folder, 1), 0);
    snprintf(message, sizeof message, "The disk of %s (POCL_CACHE_DIR) is full: ", folder);
    assert_refused("eval --device opencl:Portable s.npy", 1, message);
    assert_refused("eval --device opencl:Portable s.npy", 1, "did not compile");
    ck_assert_int_eq(unsetenv("POCL_CACHE_DIR"), 0);
    ck_assert_int_eq(setenv("XDG_CACHE_HOME", folder, 1), 0);
    snprintf(message, sizeof message, "The disk of %s (XDG_CACHE_HOME) is full: ", folder);
    assert_refused("eval --device opencl:Portable s.npy", 1, message);
}
END_TEST

#endif

int main(void)
{
    Suite *suite = suite_create("command");
    TCase *cases = tcase_create("command");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, help_and_version);
    tcase_add_test(cases, help_is_narrow);
    tcase_add_loop_test(cases, wrong_command_lines, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(cases, no_command);
    tcase_add_test(cases, no_device);
    tcase_add_test(cases, failed_evaluations);
    tcase_add_loop_test(cases, partial_defaults, 0, PARTIAL_COUNT);
    tcase_add_test(cases, partial_values);
    tcase_add_test(cases, json_defaults);
    tcase_add_test(cases, json_without_other_inputs);
    tcase_add_test(cases, json_parameters);
    tcase_add_test(cases, json_lists);
    tcase_add_test(cases, json_skipped);
    tcase_add_test(cases, json_numbers);
    tcase_add_test(cases, table);
    tcase_add_test(cases, names_of_files);
    tcase_add_test(cases, tables_fit_terminals);
    tcase_add_test(cases, progress);
    tcase_add_test(cases, quiet);
    tcase_add_loop_test(cases, failed_writes, 0, PRINTING_COUNT);
    tcase_add_test(cases, devices);
    tcase_add_test(cases, every_device);
    tcase_add_test(cases, selftest);
    tcase_add_test(cases, tune);
#ifdef __linux__
    tcase_add_test(cases, full_cache);
#endif
    suite_add_tcase(suite, cases);
    return run_tests(suite);
}
