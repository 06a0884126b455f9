/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the command share: its exit statuses, its messages, its sub-commands. */
#ifndef RATECL_COMMAND_COMMAND_H
#define RATECL_COMMAND_COMMAND_H

#include "arguments.h"

#include <ratecl/ratecl.h>

enum { COMMAND_DONE = 0, COMMAND_FAILED = 1, COMMAND_WRONG = 2, COMMAND_NO_DEVICE = 3 };

extern const struct command eval_command, devices_command, selftest_command, tune_command;

/* Write "ratecl: " and the message to standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Write the library's message for a call that gave `status`; gives the exit status that it means. */
int complain_of(ratecl_status status);

#endif
