/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the command on a pseudo-terminal. Define _XOPEN_SOURCE as 700 before including this header. */
#ifndef RATECL_TESTS_COMMAND_TERMINAL_H
#define RATECL_TESTS_COMMAND_TERMINAL_H

#include "command_run.h"

#include <sys/ioctl.h>

/* Open a terminal of `columns`; return the end that shows what is printed, and the command's in *inner. */
static inline int open_terminal(int columns, int *inner)
{
    const struct winsize size = { .ws_row = 25, .ws_col = (unsigned short)columns };
    const int outer = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(outer, 0);
    ck_assert(grantpt(outer) == 0 && unlockpt(outer) == 0);
    *inner = open(ptsname(outer), O_RDWR | O_NOCTTY);
    ck_assert_int_ge(*inner, 0);
    ck_assert_int_eq(ioctl(*inner, TIOCSWINSZ, &size), 0);
    fcntl(outer, F_SETFD, FD_CLOEXEC);
    fcntl(*inner, F_SETFD, FD_CLOEXEC);
    return outer;
}

/* Read what is printed until `wanted` is there (NULL: until the end); append it to `text`. */
static inline void read_terminal(int outer, const char *wanted, char text[OUTPUT_MAX])
{
    size_t length = strlen(text);
    while (!wanted || !strstr(text, wanted)) {
        const ssize_t got = read(outer, text + length, OUTPUT_MAX - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
        text[length] = '\0';
        ck_assert_uint_lt(length, OUTPUT_MAX - 1);
    }
    ck_assert_msg(!wanted || strstr(text, wanted), "\"%s\" is not on the terminal: %s", wanted, text);
}

/* Run a line with standard output on a terminal, and errors in `outcome` as usual. */
static inline void run_on_terminal(struct outcome *outcome, int columns, const char *line)
{
    int inner;
    const int outer = open_terminal(columns, &inner);
    const int nothing = open("/dev/null", O_RDONLY);
    FILE *err = tmpfile();
    ck_assert_msg(nothing >= 0 && err, "no file for standard streams");
    const pid_t child = start(line, nothing, inner, fileno(err));
    close(inner);
    close(nothing);
    outcome->out[0] = '\0';
    read_terminal(outer, NULL, outcome->out);
    outcome->status = status_of(child);
    close(outer);
    read_back(err, outcome->err);
}

/* No line of `text` has more than `columns` characters, of one column each. */
static inline void assert_fits(const char *text, int columns, const char *line)
{
    int column = 0;
    for (const char *at = text; *at; ++at) {
        const bool continues = ((unsigned char)*at & 0xc0) == 0x80;
        column = *at == '\n' || *at == '\r' ? 0 : column + !continues;
        ck_assert_msg(column <= columns, "ratecl %s: a line is wider than %d columns:\n%s", line, columns,
                      text);
    }
}

#endif
