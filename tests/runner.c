/* SPDX-License-Identifier: Apache-2.0 */
/* The part of suite.h that needs no device, for programs that link the library's sources. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

int suite_run(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    /* A case for each, so that CK_RUN_CASE names one. */
    for (size_t k = 0; k < count; k++) {
        TCase *tcase = tcase_create(tests[k]->name);
        tcase_add_test(tcase, tests[k]);
        suite_add_tcase(suite, tcase);
    }

    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const bool passed = srunner_ntests_run(runner) > 0 && srunner_ntests_failed(runner) == 0;
    srunner_free(runner);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

void *suite_allocate(size_t bytes)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

void *suite_copy(const void *memory, size_t bytes)
{
    void *copy = suite_allocate(bytes);
    memcpy(copy, memory, bytes);
    return copy;
}

void suite_assert_fails(ratecl_status got, ratecl_status expected, const char *call, const char *const *texts)
{
    ck_assert_msg(got == expected, "%s: got %s, expected %s; message: %s", call, ratecl_status_name(got),
                  ratecl_status_name(expected), ratecl_last_error());
    for (; *texts; texts++)
        ck_assert_msg(strstr(ratecl_last_error(), *texts), "%s: no \"%s\" in the message: %s", call, *texts,
                      ratecl_last_error());
}
