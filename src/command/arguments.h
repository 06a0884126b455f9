/* SPDX-License-Identifier: Apache-2.0 */
/* A sub-command is a table of options; the table is what is parsed and what --help prints. */
#ifndef RATECL_COMMAND_ARGUMENTS_H
#define RATECL_COMMAND_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* The values of an option that may be repeated. `items` is on the heap; its texts are argv's. */
struct text_list {
    const char **items;
    size_t count;
};

typedef enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_LIST } option_kind;

struct option {
    const char *name;         /* with its dashes */
    const char *metavariable; /* of its value in the help; NULL for a flag */
    option_kind kind;
    size_t offset;    /* in the settings: of a bool, a const char * or a text_list */
    const char *help; /* is wrapped when it is printed */
};

struct command {
    const char *name;
    const char *operand; /* the one operand's name in the help; NULL: takes none */
    const char *summary;
    const struct option *options;
    size_t option_count;
    const char *notes; /* more help, after the options, in lines; may be NULL */
    int (*run)(int argc, char **argv);
};

typedef enum parse_result { PARSE_DONE, PARSE_HELPED, PARSE_REFUSED } parse_result;

/* True for the options that ask for help. */
bool arguments_is_help(const char *argument);

/* Read argv[1..] into `settings`, zeroed by the caller, and *operand. PARSE_HELPED: --help was asked for
 * and printed. PARSE_REFUSED: the reason is on standard error. Lists are the caller's to free always. */
parse_result arguments_parse(const struct command *command, int argc, char **argv, void *settings,
                             const char **operand);

#endif
