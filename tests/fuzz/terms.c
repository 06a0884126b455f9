/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a term. One that is accepted is valid, and its description is a text of the same term. */
#include "fuzz.h"

#include <math.h>
#include <ratecl/ratecl.h>
#include <string.h>

/* Write the term as text, all its parameters in it. */
static void describe(const ratecl_term *term, char *text, size_t size)
{
    int used = snprintf(text, size, "%s", ratecl_criterion_name(term->criterion));
    ratecl_parameter parameter = { .size = sizeof parameter };
    for (size_t k = 0; ratecl_term_parameter(term, k, &parameter) == RATECL_OK; k++) {
        MUST(isfinite(parameter.number));
        used += snprintf(text + used, size - (size_t)used, "%c%s=", k == 0 ? ':' : ',', parameter.name);
        used += parameter.choice ? snprintf(text + used, size - (size_t)used, "%s", parameter.choice)
                                 : snprintf(text + used, size - (size_t)used, "%.17g", parameter.number);
        MUST(used < (int)size);
    }
    MUST(strchr(text, ':')); /* each criterion has a parameter */
}

static void compare(const ratecl_term *one, const ratecl_term *other)
{
    ratecl_parameter a = { .size = sizeof a }, b = { .size = sizeof b };
    MUST(one->criterion == other->criterion);
    for (size_t k = 0; ratecl_term_parameter(one, k, &a) == RATECL_OK; k++) {
        MUST(ratecl_term_parameter(other, k, &b) == RATECL_OK);
        MUST(memcmp(&a.number, &b.number, sizeof a.number) == 0 && a.choice == b.choice);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), description[1024];
    MUST(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    ratecl_term term, again;
    if (ratecl_term_parse(&term, text) == RATECL_OK) {
        describe(&term, description, sizeof description);
        MUST(ratecl_term_parse(&again, description) == RATECL_OK);
        compare(&term, &again);
    } else {
        MUST(*ratecl_last_error());
    }
    free(text);
    return 0;
}
