/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria and their parameters: one table that parsing, checking and describing terms share. */
#define _POSIX_C_SOURCE 200809L /* newlocale */

#include "terms.h"

#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct choice {
    const char *name;
    int32_t value;
} choice;

typedef enum parameter_kind { NUMBER, INTEGER, CHOICE } parameter_kind;

typedef struct term_field {
    const char *name;
    parameter_kind kind;
    size_t offset; /* in ratecl_term */
    double lowest;
    const choice *choices; /* the default first; ends with a NULL name */
} term_field;

typedef struct criterion {
    const char *name;
    const term_field *parameters; /* ends with a NULL name */
} criterion;

static const choice rate_metrics[] = { { "l2", RATECL_METRIC_L2 }, { "l1", RATECL_METRIC_L1 }, { NULL, 0 } };
static const choice dist_metrics[] = { { "sd", RATECL_METRIC_SD },
                                       { "cv", RATECL_METRIC_CV },
                                       { "mean_ad", RATECL_METRIC_MEAN_AD },
                                       { "max_ad", RATECL_METRIC_MAX_AD },
                                       { NULL, 0 } };
static const choice overs[] = { { "batch", RATECL_OVER_BATCH }, { "step", RATECL_OVER_STEP }, { NULL, 0 } };
static const choice booleans[] = { { "true", 1 }, { "false", 0 }, { "1", 1 }, { "0", 0 }, { NULL, 0 } };
static const choice reductions[] = { { "mean", RATECL_REDUCTION_MEAN },
                                     { "sum", RATECL_REDUCTION_SUM },
                                     { "none", RATECL_REDUCTION_NONE },
                                     { NULL, 0 } };
static const choice logs[] = { { "variance", RATECL_LOG_VARIANCE },
                               { "sigma", RATECL_LOG_SIGMA },
                               { NULL, 0 } };
static const choice degenerates[] = { { "error", RATECL_DEGENERATE_ERROR },
                                      { "skip", RATECL_DEGENERATE_SKIP },
                                      { NULL, 0 } };

#define FIELD(name, kind, lowest, choices)                        \
    {                                                             \
#name, kind, offsetof(ratecl_term, name), lowest, choices \
    }
#define WEIGHT                              \
    FIELD(weight, NUMBER, -HUGE_VAL, NULL), \
    {                                       \
        NULL, NUMBER, 0, 0, NULL            \
    }

static const term_field firing_rate[] = { FIELD(metric, CHOICE, 0, rate_metrics),
                                          FIELD(target, NUMBER, -HUGE_VAL, NULL), WEIGHT };
static const term_field firing_rate_dist[] = { FIELD(metric, CHOICE, 0, dist_metrics),
                                               FIELD(ddof, INTEGER, -HUGE_VAL, NULL), WEIGHT };
static const term_field state_prediction[] = { FIELD(tau, INTEGER, 1, NULL), WEIGHT };
static const term_field hebbian[] = { FIELD(over, CHOICE, 0, overs), WEIGHT };
static const term_field entropy[] = { FIELD(reg, NUMBER, -HUGE_VAL, NULL), FIELD(eps, NUMBER, 0, NULL),
                                      WEIGHT };
static const term_field population_kl[] = { FIELD(symmetric, CHOICE, 0, booleans),
                                            FIELD(reg, NUMBER, -HUGE_VAL, NULL),
                                            FIELD(reduction, CHOICE, 0, reductions),
                                            FIELD(log, CHOICE, 0, logs),
                                            FIELD(var_floor, NUMBER, 0, NULL),
                                            FIELD(degenerate, CHOICE, 0, degenerates),
                                            WEIGHT };

static const criterion criteria[] = {
    [RATECL_FIRING_RATE] = { "firing_rate", firing_rate },
    [RATECL_FIRING_RATE_DIST] = { "firing_rate_dist", firing_rate_dist },
    [RATECL_STATE_PREDICTION] = { "state_prediction", state_prediction },
    [RATECL_HEBBIAN] = { "hebbian", hebbian },
    [RATECL_ENTROPY] = { "entropy", entropy },
    [RATECL_POPULATION_KL] = { "population_kl", population_kl },
};
enum { CRITERION_END = sizeof criteria / sizeof *criteria };

static bool is_criterion(ratecl_criterion number)
{
    return (unsigned)number - 1 < CRITERION_END - 1;
}

const char *ratecl_criterion_name(ratecl_criterion number)
{
    return is_criterion(number) ? criteria[number].name : NULL;
}

/* ---- Fields ---- */

static double field_read(const ratecl_term *term, const term_field *p)
{
    const char *field = (const char *)term + p->offset;
    double number;
    int64_t integer;
    int32_t value;
    switch (p->kind) {
    case NUMBER:
        memcpy(&number, field, sizeof number);
        return number;
    case INTEGER:
        memcpy(&integer, field, sizeof integer);
        return (double)integer;
    case CHOICE:
        break;
    }
    memcpy(&value, field, sizeof value);
    return value;
}

static void field_write_choice(ratecl_term *term, const term_field *p, int32_t value)
{
    memcpy((char *)term + p->offset, &value, sizeof value);
}

static const choice *choice_of(const term_field *p, double value)
{
    for (const choice *c = p->choices; c->name; ++c)
        if (c->value == value)
            return c;
    return NULL;
}

/* What a parameter takes: "expected sd, cv, mean_ad or max_ad". */
static void expectation(const term_field *p, char *text, size_t bytes)
{
    if (p->kind != CHOICE) {
        const char *noun = p->kind == INTEGER ? "a whole number" : "a finite number";
        if (isfinite(p->lowest))
            snprintf(text, bytes, "expected %s, at least %g", noun, p->lowest);
        else
            snprintf(text, bytes, "expected %s", noun);
        return;
    }
    size_t used = (size_t)snprintf(text, bytes, "expected ");
    for (const choice *c = p->choices; c->name && used < bytes; ++c) {
        const char *separator = c == p->choices ? "" : c[1].name ? ", " : " or ";
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", separator, c->name);
    }
}

/* ---- Initial values ---- */

/* Return a criterion's term with its defaults, the metric named. */
static ratecl_term fresh_term(ratecl_criterion number)
{
    ratecl_term term = RATECL_TERM_INIT(number);
    if (is_criterion(number) && criteria[number].parameters->choices)
        field_write_choice(&term, criteria[number].parameters, criteria[number].parameters->choices->value);
    return term;
}

void ratecl_term_init_sized(ratecl_term *term, size_t size, ratecl_criterion number)
{
    const ratecl_term fresh = fresh_term(number);
    rc_struct_init(term, size, &fresh, sizeof fresh);
}

void ratecl_parameter_init_sized(ratecl_parameter *parameter, size_t size)
{
    const ratecl_parameter empty = { .size = sizeof empty };
    rc_struct_init(parameter, size, &empty, sizeof empty);
}

/* ---- Checks ---- */

ratecl_status rc_term_complete(const void *given, const char *name, ratecl_term *complete)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    ratecl_term defaults = RATECL_TERM_INIT((ratecl_criterion)0);
    RC_TRY(rc_options_copy(&defaults, sizeof defaults, given, size, name));
    if (!is_criterion(defaults.criterion))
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s.criterion is %d: expected one of RATECL_FIRING_RATE (%d) to %d", name,
                       (int)defaults.criterion, RATECL_FIRING_RATE, CRITERION_END - 1);
    *complete = fresh_term(defaults.criterion);
    RC_TRY(rc_options_copy(complete, sizeof *complete, given, size, name));
    if (complete->metric == RATECL_METRIC_DEFAULT)
        complete->metric = fresh_term(complete->criterion).metric;
    for (const term_field *p = criteria[complete->criterion].parameters; p->name; ++p) {
        const double value = field_read(complete, p);
        if (p->kind == CHOICE ? choice_of(p, value) != NULL : isfinite(value) && value >= p->lowest)
            continue;
        char expected[160];
        expectation(p, expected, sizeof expected);
        if (p->kind == NUMBER)
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s.%s is %.17g: %s", name, p->name, value, expected);
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s.%s is %" PRId64 ": %s", name, p->name, (int64_t)value,
                       expected);
    }
    return RATECL_OK;
}

/* An eps below the range is raised to it: what it is added to is 0 or far above. A var_floor is used as its
 * root. */
ratecl_status rc_term_check_f32(const ratecl_term *term, const char *name)
{
    const double most = FLT_MAX, least_floor = (double)FLT_MIN * FLT_MIN;
    for (const term_field *p = criteria[term->criterion].parameters; p->name; ++p)
        if (p->kind == NUMBER && fabs(field_read(term, p)) > most)
            return rc_fail(
                RATECL_ERROR_ARGUMENT,
                "%s.%s is %g: expected a magnitude of at most %g, the range of f32; f64 has a wider one",
                name, p->name, field_read(term, p), most);
    if (term->criterion == RATECL_POPULATION_KL && term->var_floor > 0 && term->var_floor < least_floor)
        return rc_fail(
            RATECL_ERROR_ARGUMENT,
            "%s.var_floor is %g: expected 0 or at least %g in f32, the square of its smallest number", name,
            term->var_floor, least_floor);
    return RATECL_OK;
}

/* ---- Text ---- */

/* The length of `text` up to one of `ends`. */
static int word(const char *text, const char *ends)
{
    return (int)strcspn(text, ends);
}

static ratecl_status unknown_criterion(const char *text)
{
    rc_message("term \"%s\": unknown criterion \"%.*s\": expected", text, word(text, ":"), text);
    for (int k = 1; k < CRITERION_END; ++k) {
        rc_message_append(k == 1 ? " " : k + 1 == CRITERION_END ? " or " : ", ");
        rc_message_append(criteria[k].name);
    }
    return RATECL_ERROR_ARGUMENT;
}

static ratecl_status unknown_key(const char *text, const char *key, const term_field *parameters)
{
    rc_message("term \"%s\": unknown key \"%.*s\": expected", text, word(key, "=,"), key);
    for (const term_field *p = parameters; p->name; ++p) {
        rc_message_append(p == parameters ? " " : p[1].name ? ", " : " or ");
        rc_message_append(p->name);
    }
    return RATECL_ERROR_ARGUMENT;
}

/* A number with a decimal point, whatever the caller's locale writes there. */
static bool parse_number(const char *text, double *number)
{
    const locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0)
        return false;
    const locale_t callers = uselocale(c_locale);
    char *end;
    *number = strtod(text, &end);
    uselocale(callers);
    freelocale(c_locale);
    return end != text && *end == '\0' && isfinite(*number);
}

static bool parse_value(ratecl_term *term, const term_field *p, const char *value)
{
    char *field = (char *)term + p->offset;
    if (p->kind == CHOICE) {
        for (const choice *c = p->choices; c->name; ++c)
            if (strcmp(c->name, value) == 0) {
                field_write_choice(term, p, c->value);
                return true;
            }
        return false;
    }
    double number;
    if (!parse_number(value, &number) || number < p->lowest)
        return false;
    if (p->kind == INTEGER) {
        if (number != floor(number) || fabs(number) > 0x1p53)
            return false;
        memcpy(field, &(int64_t){ (int64_t)number }, sizeof(int64_t));
    } else {
        memcpy(field, &number, sizeof number);
    }
    return true;
}

static size_t field_bytes(const term_field *p)
{
    static const size_t bytes[] = {
        [NUMBER] = sizeof(double), [INTEGER] = sizeof(int64_t), [CHOICE] = sizeof(int32_t)
    };
    return bytes[p->kind];
}

/* Parse one "key=value" of length `length` into a term of which the caller has `size` bytes. */
static ratecl_status parse_pair(ratecl_term *term, size_t size, const char *text, const char *pair,
                                int length)
{
    const term_field *p = criteria[term->criterion].parameters;
    const int key = word(pair, "=,");
    while (p->name && !((int)strlen(p->name) == key && strncmp(p->name, pair, (size_t)key) == 0))
        ++p;
    if (!p->name)
        return unknown_key(text, pair, criteria[term->criterion].parameters);
    if (p->offset + field_bytes(p) > size)
        return rc_fail(
            RATECL_ERROR_ARGUMENT,
            "term \"%s\": %s has no place in a ratecl_term of %zu bytes: expected at least %zu, as "
            "in later versions of the header",
            text, p->name, size, p->offset + field_bytes(p));
    char value[64] = "", expected[160];
    if (key < length)
        snprintf(value, sizeof value, "%.*s", length - key - 1, pair + key + 1);
    if (length - key - 1 < (int)sizeof value && parse_value(term, p, value))
        return RATECL_OK;
    expectation(p, expected, sizeof expected);
    return rc_fail(RATECL_ERROR_ARGUMENT, "term \"%s\": %s is \"%.*s\": %s", text, p->name,
                   length > key ? length - key - 1 : 0, pair + key + 1, expected);
}

ratecl_status ratecl_term_parse_sized(ratecl_term *term, size_t size, const char *text)
{
    RC_REFUSE_NULL(term);
    RC_REFUSE_NULL(text);
    RC_TRY(rc_struct_check(size, "size"));
    const int name = word(text, ":");
    int number = 1;
    while (number < CRITERION_END && !((int)strlen(criteria[number].name) == name &&
                                       strncmp(criteria[number].name, text, (size_t)name) == 0))
        ++number;
    if (number == CRITERION_END)
        return unknown_criterion(text);

    ratecl_term parsed = fresh_term((ratecl_criterion)number);
    const char *pair = text + name;
    while (*pair) {
        ++pair; /* the colon, or a comma */
        const int length = word(pair, ",");
        RC_TRY(parse_pair(&parsed, size, text, pair, length));
        pair += length;
    }
    rc_struct_give(term, size, &parsed, sizeof parsed);
    return RATECL_OK;
}

/* ---- Description ---- */

ratecl_status ratecl_term_parameter(const ratecl_term *term, size_t index, ratecl_parameter *parameter)
{
    RC_REFUSE_NULL(term);
    RC_REFUSE_NULL(parameter);
    RC_TRY(rc_struct_check(parameter->size, "parameter.size"));
    ratecl_term given;
    RC_TRY(rc_term_complete(term, "term", &given));
    const ratecl_term fresh = fresh_term(given.criterion);

    const term_field *p = criteria[given.criterion].parameters;
    for (size_t k = 0; k < index && p->name; ++k)
        ++p;
    if (!p->name)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "index is %zu: expected less than the number of %s's parameters", index,
                       criteria[given.criterion].name);
    const double value = field_read(&given, p);
    const ratecl_parameter described = {
        .size = sizeof described,
        .name = p->name,
        .choice = p->kind == CHOICE ? choice_of(p, value)->name : NULL,
        .number = value,
        .is_integer = p->kind == INTEGER,
        .is_default = value == field_read(&fresh, p),
    };
    rc_struct_give(parameter, parameter->size, &described, sizeof described);
    return RATECL_OK;
}
