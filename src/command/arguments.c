/* SPDX-License-Identifier: Apache-2.0 */
#include "arguments.h"

#include "command.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 26 };

bool arguments_is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static void print_option(const char *name, const char *metavariable, const char *help)
{
    int column = printf("  %s%s%s", name, metavariable ? " " : "", metavariable ? metavariable : "");
    if (column > HELP_COLUMN - 2) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_COLUMN - column, "");
    text_wrap(stdout, help, HELP_COLUMN, HELP_WIDTH);
    putchar('\n');
}

static void print_help(const struct command *command)
{
    printf("Usage: ratecl %s [options]%s%s\n", command->name, command->operand ? " " : "",
           command->operand ? command->operand : "");
    text_wrap(stdout, command->summary, 0, HELP_WIDTH);
    fputs("\n\nOptions:\n", stdout);
    for (size_t k = 0; k < command->option_count; k++)
        print_option(command->options[k].name, command->options[k].metavariable, command->options[k].help);
    print_option("-h, --help", NULL, "print this help");
    if (command->notes)
        printf("\n%s", command->notes);
}

static parse_result refuse(const struct command *command, const char *what, const char *why)
{
    complain("%s: %s; see 'ratecl %s --help'", what, why, command->name);
    return PARSE_REFUSED;
}

/* The option that `argument`, "--name" or "--name=value", names. */
static const struct option *find_option(const struct command *command, const char *argument)
{
    const size_t length = strcspn(argument, "=");
    for (size_t k = 0; k < command->option_count; k++) {
        const char *name = command->options[k].name;
        if (strlen(name) == length && strncmp(name, argument, length) == 0)
            return &command->options[k];
    }
    return NULL;
}

/* Set an option's field; NULL, or why not. `capacity` bounds how often an option can be given. */
static const char *store(const struct option *option, void *settings, const char *value, size_t capacity)
{
    void *field = (char *)settings + option->offset;
    if (option->kind == OPTION_LIST) {
        struct text_list *list = field;
        if (!list->items)
            list->items = calloc(capacity, sizeof *list->items);
        if (!list->items)
            return "memory ran out";
        list->items[list->count++] = value;
        return NULL;
    }
    const bool given = option->kind == OPTION_FLAG ? *(bool *)field : *(const char **)field != NULL;
    if (given)
        return "given twice";
    if (option->kind == OPTION_FLAG)
        *(bool *)field = true;
    else
        *(const char **)field = value;
    return NULL;
}

parse_result arguments_parse(const struct command *command, int argc, char **argv, void *settings,
                             const char **operand)
{
    bool options_end = false;
    *operand = NULL;
    for (int k = 1; k < argc; k++) {
        const char *argument = argv[k];
        if (options_end || argument[0] != '-' || argument[1] == '\0') {
            if (!command->operand)
                return refuse(command, argument, "no file or other operand is expected");
            if (*operand)
                return refuse(command, argument, "one file is expected, not two");
            *operand = argument;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            options_end = true;
            continue;
        }
        if (arguments_is_help(argument)) {
            print_help(command);
            return PARSE_HELPED;
        }
        const struct option *option = find_option(command, argument);
        if (!option)
            return refuse(command, argument, "unknown option");
        const char *equals = strchr(argument, '=');
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == OPTION_FLAG && value)
            return refuse(command, option->name, "takes no value");
        if (option->kind != OPTION_FLAG && !value) {
            if (++k == argc)
                return refuse(command, option->name, "a value is missing");
            value = argv[k];
        }
        const char *why = store(option, settings, value, (size_t)argc);
        if (why)
            return refuse(command, option->name, why);
    }
    if (command->operand && !*operand)
        return refuse(command, command->operand, "is missing");
    return PARSE_DONE;
}
