/* SPDX-License-Identifier: Apache-2.0 */
/* The user's folder without a disk: one file, whatever its name. */
#ifndef RATECL_TESTS_FUZZ_FAKE_FOLDER_H
#define RATECL_TESTS_FUZZ_FAKE_FOLDER_H

#include <stddef.h>

/* Put a file there; a copy is made. */
void fake_file_put(const void *content, size_t bytes);
/* What is there now, with a 0 behind it. */
const char *fake_file(size_t *bytes);
void fake_file_remove(void);

#endif
