/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of the test's own, in the place of the user's, and files in it. */
#ifndef RATECL_TESTS_USER_FOLDER_H
#define RATECL_TESTS_USER_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

extern char user_folder[64], user_elsewhere[80];

/* Make the folder, and name it in RATECL_CACHE; and another one elsewhere. */
void user_folder_make(void);
/* Remove both with all in them, and keep nothing from then on. */
void user_folder_remove(void);

typedef void (*file_function)(const char *path);

/* Call `visit`, if there is one, for each file of which the name ends so; returns how many there are. */
int each_file(const char *suffix, file_function visit);
void remove_file(const char *path);

/* The number of files in a folder of which the name begins so. */
int files_that_begin(const char *folder, const char *prefix);

unsigned char *read_file(const char *path, size_t *bytes);
void write_file(const char *path, const void *content, size_t bytes);

/* What must not be trusted, nor waited for, in the place of a file or of the folder. `make` puts it there,
 * with the same content where it can have one; false where that cannot be done here. */
typedef struct hostile {
    const char *name;
    bool (*make)(const char *path);
} hostile;
enum { HOSTILE_FILES = 9, HOSTILE_FOLDERS = 6 };
extern const hostile hostile_files[HOSTILE_FILES], hostile_folders[HOSTILE_FOLDERS];

/* Write `parameters` behind the beginning of a line of tuning.txt, and the checksum behind both. */
void seal_line(char *line, size_t size, const char *beginning, const char *parameters);

/* Descriptors that this process has open. */
int open_descriptors(void);

#endif
