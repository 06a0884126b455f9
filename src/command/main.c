/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "command.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = { &eval_command, &devices_command, &selftest_command,
                                                  &tune_command };
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

void complain(const char *format, ...)
{
    char start[512]; /* all that is printed where memory ran out */
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    const int length = vsnprintf(start, sizeof start, format, arguments);
    char *whole = length >= (int)sizeof start ? malloc((size_t)length + 1) : NULL;
    if (whole)
        vsnprintf(whole, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    fputs("ratecl: ", stderr);
    text_print(stderr, whole ? whole : start, false);
    fputc('\n', stderr);
    free(whole);
}

int complain_of(ratecl_status status)
{
    const char *message = ratecl_last_error();
    fputs("ratecl: ", stderr);
    text_print(stderr, message[0] ? message : ratecl_status_name(status), status == RATECL_ERROR_BUILD);
    fputc('\n', stderr);
    switch (status) {
    case RATECL_ERROR_ARGUMENT:
        return COMMAND_WRONG;
    case RATECL_ERROR_NO_DEVICE:
        return COMMAND_NO_DEVICE;
    default:
        return COMMAND_FAILED;
    }
}

static void print_usage(FILE *stream)
{
    fputs("Usage: ratecl COMMAND [options] ...\n"
          "Constraints on firing rates, evaluated on any OpenCL device or on the CPU.\n\nCommands:\n",
          stream);
    for (size_t k = 0; k < COMMAND_COUNT; k++) {
        const int column = fprintf(stream, "  %-10s ", commands[k]->name);
        text_wrap(stream, commands[k]->summary, column > 0 ? column : 0, HELP_WIDTH);
        fputc('\n', stream);
    }
    fputs("  help       Print this text, or with the name of a command that command's help.\n"
          "\n'ratecl COMMAND --help' tells more; 'ratecl --version' prints the version.\n"
          "Exit status: 0 done, 1 the evaluation failed, 2 the command line or a file is\n"
          "wrong, 3 no such device.\n",
          stream);
}

static const struct command *find_command(const char *name)
{
    for (size_t k = 0; k < COMMAND_COUNT; k++)
        if (strcmp(name, commands[k]->name) == 0)
            return commands[k];
    complain("%s: unknown command", name);
    print_usage(stderr);
    return NULL;
}

/* "ratecl help [COMMAND]" */
static int run_help(int argc, char **argv)
{
    char option[] = "--help";
    if (argc > 2) {
        complain("%s: one command is expected, not two", argv[2]);
        return COMMAND_WRONG;
    }
    if (argc < 2 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return COMMAND_DONE;
    }
    const struct command *command = find_command(argv[1]);
    return command ? command->run(2, (char *[]){ argv[1], option, NULL }) : COMMAND_WRONG;
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return COMMAND_WRONG;
    }
    if (arguments_is_help(argv[1])) {
        print_usage(stdout);
        return COMMAND_DONE;
    }
    if (strcmp(argv[1], "help") == 0)
        return run_help(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("ratecl %s\n", ratecl_version());
        return COMMAND_DONE;
    }
    const struct command *command = find_command(argv[1]);
    return command ? command->run(argc - 1, argv + 1) : COMMAND_WRONG;
}

/* A mapped file that shrinks, or whose disk fails, while it is read raises SIGBUS at the access. */
static void on_bus_error(int number)
{
    static const char message[] = "ratecl: a file became unreadable or shorter while it was read\n";
    (void)number;
    (void)!write(STDERR_FILENO, message, sizeof message - 1);
    _exit(COMMAND_FAILED);
}

/* Keep files from taking the numbers of standard streams that the caller closed; writing to such a stream
 * still fails, as the stand-in is open for reading only. */
static void reserve_standard_streams(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor > STDERR_FILENO)
        close(descriptor);
}

int main(int argc, char **argv)
{
    /* No setlocale(): numbers are read and written with a point wherever the command runs. */
    reserve_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write, which is noticed below */
    signal(SIGXFSZ, SIG_IGN); /* so is a file above the limit of its size */
    signal(SIGBUS, on_bus_error);

    const int status = run(argc, argv);

    const int failed = ferror(stdout);
    if (fclose(stdout) != 0 || failed) {
        complain("standard output: %s", errno ? strerror(errno) : "a write failed");
        return COMMAND_FAILED;
    }
    return status;
}
