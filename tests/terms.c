/* SPDX-License-Identifier: Apache-2.0 */
/* Terms as text: what is refused, which field each key sets, the defaults, and the way back; and the names of
 * statuses. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

START_TEST(term_texts_refused)
{
    static const struct {
        const char *text, *names, *value, *expectation;
    } refused[] = {
        { "", "criterion", "\"\"", "firing_rate" },
        { "spike_rate", "criterion", "spike_rate", "firing_rate, " },
        { "firing_rat", "criterion", "firing_rat", "expected" },
        { "firing_rate_", "criterion", "firing_rate_", "expected" },
        { "Entropy", "criterion", "Entropy", "expected" },
        { "entropy:", "key", "\"\"", "reg" },
        { "entropy:target=1", "key", "target", "reg" },
        { "entropy:reg=1,", "key", "\"\"", "reg" },
        { "entropy:reg", "reg", "\"\"", "finite number" },
        { "entropy:reg=", "reg", "\"\"", "finite number" },
        { "entropy:reg=ten", "reg", "ten", "finite number" },
        { "entropy:reg=1x", "reg", "1x", "finite number" },
        { "entropy:reg=nan", "reg", "nan", "finite number" },
        { "entropy:reg=1e999", "reg", "1e999", "finite number" },
        { "entropy:eps=-1e-8", "eps", "-1e-8", "at least 0" },
        { "entropy:weight=inf", "weight", "inf", "finite number" },
        { "firing_rate:metric=sd", "metric", "sd", "l2" },
        { "firing_rate:metric=L2", "metric", "L2", "l1" },
        { "firing_rate_dist:metric=l1", "metric", "l1", "max_ad" },
        { "firing_rate_dist:ddof=0.5", "ddof", "0.5", "whole number" },
        { "state_prediction:tau=0", "tau", "0", "at least 1" },
        { "state_prediction:tau=-3", "tau", "-3", "at least 1" },
        { "state_prediction:tau=1.5", "tau", "1.5", "whole number" },
        { "state_prediction:tau=1e300", "tau", "1e300", "whole number" },
        { "hebbian:over=trial", "over", "trial", "batch" },
        { "population_kl:symmetric=maybe", "symmetric", "maybe", "true" },
        { "population_kl:reduction=max", "reduction", "max", "none" },
        { "population_kl:log=entropy", "log", "entropy", "variance" },
        { "population_kl:var_floor=-1", "var_floor", "-1", "at least 0" },
        { "population_kl:degenerate=ignore", "degenerate", "ignore", "skip" },
    };
    ratecl_term before, term;
    memset(&before, 0x5a, sizeof before);
    term = before;
    for (size_t k = 0; k < COUNT(refused); k++)
        ASSERT_REFUSED(ratecl_term_parse(&term, refused[k].text), refused[k].names, refused[k].value,
                       refused[k].expectation);
    ASSERT_REFUSED(ratecl_term_parse(&term, NULL), "text", "NULL", "expected");
    ASSERT_REFUSED(ratecl_term_parse(NULL, "entropy"), "term", "NULL", "expected");
    ck_assert_mem_eq(&term, &before, sizeof term);
}
END_TEST

/* Every key, given a value other than its default, arrives in its own field. */
START_TEST(term_texts)
{
    ratecl_term term;
    ASSERT_OK(ratecl_term_parse(&term, "firing_rate:metric=l1,target=-2.5e-1,weight=3"));
    ck_assert_int_eq(term.criterion, RATECL_FIRING_RATE);
    ck_assert_int_eq(term.metric, RATECL_METRIC_L1);
    ck_assert_double_eq(term.target, -0.25);
    ck_assert_double_eq(term.weight, 3);
    static const char *const metrics[] = { "sd", "cv", "mean_ad", "max_ad" };
    for (int k = 0; k < 4; k++) {
        char text[64] = "firing_rate_dist:ddof=1,metric=";
        ASSERT_OK(ratecl_term_parse(&term, strcat(text, metrics[k])));
        ck_assert_int_eq(term.metric, RATECL_METRIC_SD + k);
        ck_assert_int_eq(term.ddof, 1);
    }
    ASSERT_OK(ratecl_term_parse(&term, "state_prediction:tau=12"));
    ck_assert_int_eq(term.tau, 12);
    ASSERT_OK(ratecl_term_parse(&term, "hebbian:over=step"));
    ck_assert_int_eq(term.over, RATECL_OVER_STEP);
    ASSERT_OK(ratecl_term_parse(&term, "entropy:reg=0,eps=1e-8"));
    ck_assert_double_eq(term.reg, 0);
    ck_assert_double_eq(term.eps, 1e-8);
    ASSERT_OK(ratecl_term_parse(&term, "population_kl:symmetric=false,reg=0.5,reduction=none,log=sigma,"
                                       "var_floor=1e-4,degenerate=skip"));
    ck_assert_int_eq(term.symmetric, 0);
    ck_assert_double_eq(term.reg, 0.5);
    ck_assert_int_eq(term.reduction, RATECL_REDUCTION_NONE);
    ck_assert_int_eq(term.log, RATECL_LOG_SIGMA);
    ck_assert_double_eq(term.var_floor, 1e-4);
    ck_assert_int_eq(term.degenerate, RATECL_DEGENERATE_SKIP);
    ASSERT_OK(ratecl_term_parse(&term, "population_kl:reduction=sum"));
    ck_assert_int_eq(term.reduction, RATECL_REDUCTION_SUM);
}
END_TEST

/* The macro, the function and the bare name give the same defaults: those of the documentation. */
START_TEST(term_defaults)
{
    static const ratecl_metric metrics[] = { [RATECL_FIRING_RATE] = RATECL_METRIC_L2,
                                             [RATECL_FIRING_RATE_DIST] = RATECL_METRIC_SD,
                                             [RATECL_POPULATION_KL] = RATECL_METRIC_DEFAULT };
    for (int k = RATECL_FIRING_RATE; k <= RATECL_POPULATION_KL; k++) {
        const ratecl_criterion criterion = (ratecl_criterion)k;
        const ratecl_term by_macro = RATECL_TERM_INIT(criterion);
        ratecl_term by_function, by_name;
        ratecl_term_init(&by_function, criterion);
        ASSERT_OK(ratecl_term_parse(&by_name, ratecl_criterion_name(criterion)));
        ck_assert_int_eq(by_name.metric, metrics[k]);
        ck_assert_int_eq(by_macro.metric, RATECL_METRIC_DEFAULT);
        const ratecl_term *const all[] = { &by_macro, &by_function, &by_name };
        for (size_t n = 0; n < COUNT(all); n++) {
            ck_assert_uint_eq(all[n]->size, sizeof(ratecl_term));
            ck_assert_int_eq(all[n]->criterion, criterion);
            ck_assert_double_eq(all[n]->weight, 1);
            ck_assert_double_eq(all[n]->target, 0);
            ck_assert_int_eq(all[n]->ddof, 0);
            ck_assert_int_eq(all[n]->tau, 1);
            ck_assert_int_eq(all[n]->over, RATECL_OVER_BATCH);
            ck_assert_double_eq(all[n]->eps, 0);
            ck_assert_int_eq(all[n]->symmetric, 1);
            ck_assert_int_eq(all[n]->reduction, RATECL_REDUCTION_MEAN);
            ck_assert_int_eq(all[n]->log, RATECL_LOG_VARIANCE);
            ck_assert_double_eq(all[n]->var_floor, 0);
            ck_assert_int_eq(all[n]->degenerate, RATECL_DEGENERATE_ERROR);
            if (criterion == RATECL_ENTROPY || criterion == RATECL_POPULATION_KL)
                ck_assert_double_eq(all[n]->reg, criterion == RATECL_ENTROPY ? 10 : 1e-3);
        }
    }
    ck_assert_ptr_null(ratecl_criterion_name((ratecl_criterion)0));
    ck_assert_ptr_null(ratecl_criterion_name((ratecl_criterion)7));
}
END_TEST

/* A text written from the described parameters parses to the same term. */
START_TEST(term_round_trip)
{
    static const char *const texts[] = {
        "firing_rate:metric=l1,target=0.10000000000000001,weight=-2",
        "firing_rate_dist:metric=cv,ddof=1,weight=1",
        "state_prediction:tau=5,weight=1",
        "hebbian:over=step,weight=0.5",
        "entropy:reg=3,eps=1.0000000000000001e-09,weight=1",
        ("population_kl:symmetric=false,reg=0.25,reduction=sum,log=sigma,var_floor=0.5,"
         "degenerate=skip,weight=4"),
    };
    for (size_t k = 0; k < COUNT(texts); k++) {
        ratecl_term term;
        ASSERT_OK(ratecl_term_parse(&term, texts[k]));
        char text[200];
        size_t used = (size_t)snprintf(text, sizeof text, "%s", ratecl_criterion_name(term.criterion));
        ratecl_parameter p = { .size = sizeof p };
        size_t index = 0;
        for (; ratecl_term_parameter(&term, index, &p) == RATECL_OK; index++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%c%s=", index ? ',' : ':', p.name);
            used += (size_t)(p.choice ? snprintf(text + used, sizeof text - used, "%s", p.choice)
                                      : snprintf(text + used, sizeof text - used, "%.17g", p.number));
            ck_assert_int_eq(p.is_integer, strcmp(p.name, "ddof") == 0 || strcmp(p.name, "tau") == 0);
            ck_assert_int_eq(p.is_default, strcmp(p.name, "weight") == 0 && p.number == 1);
        }
        ck_assert_str_eq(text, texts[k]);
        ck_assert_str_eq(p.name, "weight");
        ASSERT_REFUSED(ratecl_term_parameter(&term, index, &p), "index", "expected");
    }
    ratecl_term term = RATECL_TERM_INIT(RATECL_HEBBIAN);
    ratecl_parameter p = { .size = sizeof p };
    ASSERT_REFUSED(ratecl_term_parameter(NULL, 0, &p), "term", "NULL", "expected");
    ASSERT_REFUSED(ratecl_term_parameter(&term, 0, NULL), "parameter", "NULL", "expected");
    p.size = 0;
    ASSERT_REFUSED(ratecl_term_parameter(&term, 0, &p), "size", "0", "expected");
}
END_TEST

START_TEST(status_names)
{
    static const char *const names[] = {
        "RATECL_OK",
        "RATECL_ERROR_ARGUMENT",
        "RATECL_ERROR_DOMAIN",
        "RATECL_ERROR_NO_DEVICE",
        "RATECL_ERROR_UNSUPPORTED",
        "RATECL_ERROR_MEMORY",
        "RATECL_ERROR_BUILD",
        "RATECL_ERROR_DEVICE",
    };
    for (size_t k = 0; k < COUNT(names); k++)
        ck_assert_str_eq(ratecl_status_name((ratecl_status)k), names[k]);
    ck_assert_str_eq(ratecl_status_name((ratecl_status)8), "unknown status");
    ck_assert_str_eq(ratecl_status_name((ratecl_status)-1), "unknown status");
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", RATECL_VERSION_MAJOR, RATECL_VERSION_MINOR,
             RATECL_VERSION_PATCH);
    ck_assert_str_eq(ratecl_version(), version);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { term_texts_refused, term_texts, term_defaults, term_round_trip,
                                   status_names };
    return suite_run("terms", tests, COUNT(tests));
}
