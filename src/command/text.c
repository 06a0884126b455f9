/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE /* TIOCGWINSZ */

#include "text.h"

#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ESCAPE_COLUMNS = 4 }; /* \xNN */

size_t text_sequence(const char *text)
{
    static const struct {
        unsigned char first, last, second_low, second_high;
        size_t length;
    } forms[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t k = 0; k < sizeof forms / sizeof *forms; ++k) {
        if (bytes[0] < forms[k].first || bytes[0] > forms[k].last)
            continue;
        for (size_t n = 1; n < forms[k].length; ++n) {
            const unsigned char low = n == 1 ? forms[k].second_low : 0x80;
            const unsigned char high = n == 1 ? forms[k].second_high : 0xbf;
            if (bytes[n] < low || bytes[n] > high)
                return 0;
        }
        return forms[k].length;
    }
    return 0;
}

bool text_is_control(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    return (length == 1 && (bytes[0] < 0x20 || bytes[0] == 0x7f)) ||
           (length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0);
}

/* A unit of printed text: one character, or one byte that must be escaped. */
struct unit {
    size_t bytes;
    int columns;
};

static struct unit unit_at(const char *text)
{
    const size_t length = text_sequence(text);
    if (length == 0 || text_is_control(text, length))
        return (struct unit){ 1, ESCAPE_COLUMNS };
    return (struct unit){ length, 1 };
}

static void print_unit(FILE *stream, const char *text, struct unit unit)
{
    if (unit.columns == ESCAPE_COLUMNS)
        fprintf(stream, "\\x%02x", (unsigned)(unsigned char)*text);
    else
        fwrite(text, 1, unit.bytes, stream);
}

void text_print(FILE *stream, const char *text, bool lines)
{
    while (*text) {
        struct unit unit = unit_at(text);
        if (lines && (*text == '\n' || *text == '\t'))
            unit.columns = 1;
        print_unit(stream, text, unit);
        text += unit.bytes;
    }
}

int text_width(FILE *stream)
{
    struct winsize size;
    const int descriptor = fileno(stream);
    if (descriptor < 0 || !isatty(descriptor))
        return 0;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : HELP_WIDTH;
}

/* Return the bytes of `text` that go on a line of `room` columns; *columns is how wide they are. */
static size_t line_length(const char *text, int room, int *columns)
{
    size_t used = 0, breakable = 0;
    int width = 0, breakable_width = 0;
    while (text[used]) {
        const struct unit unit = unit_at(text + used);
        if (text[used] == ' ') {
            breakable = used;
            breakable_width = width;
        }
        if (width + unit.columns > room)
            break;
        used += unit.bytes;
        width += unit.columns;
        if (text[used - 1] == ',' || text[used - 1] == '/') {
            breakable = used;
            breakable_width = width;
        }
    }
    const bool all = text[used] == '\0';
    *columns = all || breakable == 0 ? width : breakable_width;
    return all || breakable == 0 ? used : breakable;
}

int text_wrap(FILE *stream, const char *text, int indent, int width)
{
    const int room = width == 0 ? INT_MAX : width - indent > ESCAPE_COLUMNS ? width - indent : ESCAPE_COLUMNS;
    for (;;) {
        int columns;
        const char *end = text + line_length(text, room, &columns);
        while (text < end) {
            const struct unit unit = unit_at(text);
            print_unit(stream, text, unit);
            text += unit.bytes;
        }
        text += strspn(text, " ");
        if (!*text)
            return indent + columns;
        fprintf(stream, "\n%*s", indent, "");
    }
}
