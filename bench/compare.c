/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what write_json() writes: a result is a line of its own. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "support.h"

typedef struct entry {
    char name[64], device[32], memory[16];
    long long shape[3];
    double seconds;
} entry;

struct earlier {
    char *path;
    entry *entries;
    size_t count;
};

/* Where a field's value begins in a row; NULL if there is none. */
static const char *field(const char *row, const char *name)
{
    char key[40];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *place = strstr(row, key);
    return place ? place + strlen(key) : NULL;
}

static bool read_string(const char *row, const char *name, char *value, size_t bytes)
{
    const char *begin = field(row, name), *end = begin && *begin == '"' ? strchr(begin + 1, '"') : NULL;
    if (!end || (size_t)(end - begin) > bytes)
        return false;
    memcpy(value, begin + 1, (size_t)(end - begin - 1));
    value[end - begin - 1] = '\0';
    return true;
}

static bool read_entry(const char *row, entry *e)
{
    const char *shape = field(row, "shape"), *seconds = field(row, "minimum_s");
    char *end;
    if (!shape || !seconds || !read_string(row, "name", e->name, sizeof e->name) ||
        !read_string(row, "device", e->device, sizeof e->device) ||
        !read_string(row, "memory", e->memory, sizeof e->memory) ||
        sscanf(shape, "[%lld, %lld, %lld]", &e->shape[0], &e->shape[1], &e->shape[2]) != 3)
        return false;
    e->seconds = strtod(seconds, &end);
    return end != seconds && e->seconds > 0;
}

earlier *read_earlier(const char *path)
{
    FILE *in = fopen(path, "r");
    earlier *read = calloc(1, sizeof *read);
    if (!in || !read)
        fail(path, "cannot be read");
    read->path = strdup(path);
    char *row = NULL;
    size_t capacity = 0;
    entry e;
    while (getline(&row, &capacity, in) >= 0)
        if (read_entry(row, &e)) {
            read->entries = realloc(read->entries, (read->count + 1) * sizeof e);
            if (!read->entries)
                fail("memory", "there is too little");
            read->entries[read->count++] = e;
        }
    free(row);
    fclose(in);
    if (!read->count)
        fail(path, "has no result that ratecl-bench --json wrote");
    return read;
}

static const entry *find(const earlier *then, const result *now)
{
    for (size_t k = 0; k < then->count; ++k) {
        const entry *e = &then->entries[k];
        if (strcmp(e->name, now->name) == 0 && strcmp(e->device, now->device) == 0 &&
            strcmp(e->memory, now->memory) == 0 && e->shape[0] == now->shape[0] &&
            e->shape[1] == now->shape[1] && e->shape[2] == now->shape[2])
            return e;
    }
    return NULL;
}

void print_comparison(const report *all, const earlier *then)
{
    size_t met = 0;
    printf("\nbeside %s:\n%-40s %-11s %-6s %12s %12s %9s\n", then->path, "line", "device", "memory",
           "then ms", "now ms", "then/now");
    for (size_t k = 0; k < all->result_count; ++k) {
        const result *now = &all->results[k];
        const entry *e = find(then, now);
        if (!e)
            continue;
        ++met;
        printf("%-40s %-11s %-6s %12.4f %12.4f %9.2f\n", now->name, now->device, now->memory,
               1e3 * e->seconds, 1e3 * now->time.minimum, e->seconds / now->time.minimum);
    }
    printf("%zu lines are in both, %zu only then, %zu only now\n", met, then->count - met,
           all->result_count - met);
}

void release_earlier(earlier *then)
{
    if (!then)
        return;
    free(then->path);
    free(then->entries);
    free(then);
}
