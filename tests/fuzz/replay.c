/* SPDX-License-Identifier: Apache-2.0 */
/* Run a target over files and over the files of folders, without libFuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static int replayed;

static void replay_file(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    /* A block of just its size, so that reading beyond it is noticed. */
    uint8_t *content = malloc(bytes > 0 ? bytes : 1);
    MUST(file && content && fread(content, 1, bytes, file) == bytes);
    fclose(file);
    LLVMFuzzerTestOneInput(content, bytes);
    free(content);
    replayed++;
}

static void replay(const char *path)
{
    struct stat status;
    MUST(stat(path, &status) == 0);
    if (S_ISREG(status.st_mode)) {
        replay_file(path, (size_t)status.st_size);
        return;
    }
    DIR *folder = opendir(path);
    MUST(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            replay(below);
    }
    closedir(folder);
}

int main(int count, char **arguments)
{
    for (int k = 1; k < count; k++)
        replay(arguments[k]);
    printf("%d inputs replayed\n", replayed);
    return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
