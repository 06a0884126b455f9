/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the command as a process and writes files for it to read. */
#ifndef RATECL_TESTS_COMMAND_RUN_H
#define RATECL_TESTS_COMMAND_RUN_H

#include <check.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 32, OUTPUT_MAX = 1 << 16, PATH_SIZE = 512 };

struct outcome {
    int status; /* of the exit; 128 + the signal that ended it */
    char out[OUTPUT_MAX], err[OUTPUT_MAX];
};

/* A directory for the files of one test program; run_tests() removes it. */
static char directory[] = "/tmp/ratecl-command-XXXXXX";

static inline const char *path_of(const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", directory, name);
    return path;
}

static inline void read_back(FILE *stream, char text[OUTPUT_MAX])
{
    rewind(stream);
    const size_t length = fread(text, 1, OUTPUT_MAX - 1, stream);
    ck_assert_uint_lt(length, OUTPUT_MAX - 1);
    text[length] = '\0';
    fclose(stream);
}

/* In the child: standard streams, directory, then the command itself. */
static inline void become_command(char **arguments, int in, int out, int err)
{
    const char *command = getenv("RATECL_COMMAND");
    if (!command || chdir(directory) != 0 || dup2(err, STDERR_FILENO) < 0 || dup2(in, STDIN_FILENO) < 0)
        _exit(99);
    if (out < 0)
        close(STDOUT_FILENO);
    else
        dup2(out, STDOUT_FILENO);
    execv(command, arguments);
    _exit(98);
}

/* Start "ratecl" with the words of `line`, which single spaces part, in the files' directory. `out` below 0:
 * standard output is closed. */
static inline pid_t start(const char *line, int in, int out, int err)
{
    char words[1024], *arguments[ARGUMENTS_MAX] = { "ratecl" }, *rest = words;
    snprintf(words, sizeof words, "%s", line);
    int count = 1;
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL; count++) {
        ck_assert_int_lt(count, ARGUMENTS_MAX - 1);
        arguments[count] = word;
    }
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        become_command(arguments, in, out, err);
    return child;
}

static inline int status_of(pid_t child)
{
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Run a line from start to end, with errors to `outcome`. */
static inline void run_between(struct outcome *outcome, int in, int out, const char *line)
{
    FILE *err = tmpfile();
    ck_assert_ptr_nonnull(err);
    outcome->status = status_of(start(line, in, out, fileno(err)));
    outcome->out[0] = '\0';
    read_back(err, outcome->err);
}

static inline void run_into(struct outcome *outcome, int out, const char *line)
{
    const int nothing = open("/dev/null", O_RDONLY);
    ck_assert_int_ge(nothing, 0);
    run_between(outcome, nothing, out, line);
    close(nothing);
}

static inline void run(struct outcome *outcome, const char *line)
{
    FILE *out = tmpfile();
    ck_assert_ptr_nonnull(out);
    run_into(outcome, fileno(out), line);
    read_back(out, outcome->out);
}

/* The same with a file as standard input. */
static inline void run_from(struct outcome *outcome, const char *name, const char *line)
{
    char path[PATH_SIZE];
    FILE *out = tmpfile();
    const int in = open(path_of(name, path), O_RDONLY);
    ck_assert_msg(out && in >= 0, "%s cannot be opened", path);
    run_between(outcome, in, fileno(out), line);
    close(in);
    read_back(out, outcome->out);
}

static inline void assert_done(const struct outcome *outcome, const char *line)
{
    ck_assert_msg(outcome->status == 0, "ratecl %s: status %d: %s", line, outcome->status, outcome->err);
}

/* The command refused: its status, nothing on standard output, and a message that has `fragment`. */
static inline void assert_refused(const char *line, int status, const char *fragment)
{
    struct outcome *outcome = malloc(sizeof *outcome);
    ck_assert_ptr_nonnull(outcome);
    run(outcome, line);
    ck_assert_msg(outcome->status == status, "ratecl %s: status %d, expected %d: %s", line, outcome->status,
                  status, outcome->err);
    ck_assert_msg(outcome->out[0] == '\0', "ratecl %s: printed %s", line, outcome->out);
    ck_assert_msg(strncmp(outcome->err, "ratecl: ", 8) == 0 && strstr(outcome->err, fragment),
                  "ratecl %s: the message lacks \"%s\": %s", line, fragment, outcome->err);
    free(outcome);
}

static inline void write_file(const char *name, const void *bytes, size_t count)
{
    char path[PATH_SIZE];
    FILE *file = fopen(path_of(name, path), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
}

/* The bytes of a file in NumPy's format; gives their count. `header` is the dictionary. */
static inline size_t npy_bytes(unsigned char *bytes, int version, const char *header, const void *data,
                               size_t data_bytes)
{
    const size_t start = version == 1 ? 10 : 12, length = strlen(header);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[7] = 0;
    for (size_t k = 8; k < start; k++)
        bytes[k] = (unsigned char)(length >> 8 * (k - 8));
    memcpy(bytes + start, header, length);
    memcpy(bytes + start + length, data, data_bytes);
    return start + length + data_bytes;
}

/* A file as NumPy writes it: version 1.0, the data at a multiple of 64 bytes. */
static inline void write_npy(const char *name, const char *type, const char *shape, const void *data,
                             size_t data_bytes)
{
    char header[128];
    const int used = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                              type, shape);
    memset(header + used, ' ', sizeof header - (size_t)used);
    header[117] = '\n';
    header[118] = '\0';
    unsigned char *bytes = malloc(128 + data_bytes);
    ck_assert_ptr_nonnull(bytes);
    write_file(name, bytes, npy_bytes(bytes, 1, header, data, data_bytes));
    free(bytes);
}

static inline void remove_directory(void)
{
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", directory);
    if (system(line) != 0)
        fprintf(stderr, "%s is left\n", directory);
}

/* The whole of main(): the tests see neither a device nor a locale of the caller's. */
static inline int run_tests(Suite *suite)
{
    if (!getenv("RATECL_COMMAND") || !mkdtemp(directory)) {
        fputs("RATECL_COMMAND must name the command, and /tmp be writable\n", stderr);
        return EXIT_FAILURE;
    }
    unsetenv("RATECL_DEVICE");
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    remove_directory();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
