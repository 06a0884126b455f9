/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: safe on a terminal, and no wider than it. Names of files and what they hold may have any
 * bytes; control characters among them would move the cursor, recolour the screen or worse. */
#ifndef RATECL_COMMAND_TEXT_H
#define RATECL_COMMAND_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { HELP_WIDTH = 80 }; /* columns of help, whatever it is printed to */

/* Return the bytes of the UTF-8 sequence that starts at `text`, or 0 if none does. */
size_t text_sequence(const char *text);

/* True if a sequence of `length` bytes is a control character: of ASCII, or of its 8-bit extension. */
bool text_is_control(const char *text, size_t length);

/* Print text with control characters and bytes that are not UTF-8 as \xNN. `lines` lets newlines and
 * tabs through. */
void text_print(FILE *stream, const char *text, bool lines);

/* Return the columns of the terminal that `stream` is, or 0, for no limit, if it is none. */
int text_width(FILE *stream);

/* Print text safely from column `indent` on, where the cursor is; no column beyond `width` is used, and
 * further lines start at `indent` too. Lines end at spaces, behind commas and slashes, or where they must.
 * Return the column behind the last character. */
int text_wrap(FILE *stream, const char *text, int indent, int width);

#endif
