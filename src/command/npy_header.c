/* SPDX-License-Identifier: Apache-2.0 */
/* The header is the text of a Python dictionary. What is accepted is that grammar, cut down to the three
 * keys and their values: strings in any quotes, with the prefixes u and r too, integers, True and False,
 * tuples, trailing commas and white space. */
#include "npy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TYPE_CODES "f2, f4, f8, u1, i1, b1, i2, u2, i4, u4, i8, u8"

static const struct npy_type types[] = {
    { "f2", 2, RATECL_F16, RATECL_F16, true },  { "f4", 4, RATECL_F32, RATECL_F32, true },
    { "f8", 8, RATECL_F64, RATECL_F64, true },  { "u1", 1, RATECL_U8, RATECL_U8, true },
    { "b1", 1, RATECL_U8, RATECL_U8, true },    { "i1", 1, RATECL_F32, RATECL_F32, false },
    { "i2", 2, RATECL_F32, RATECL_F32, false }, { "u2", 2, RATECL_F32, RATECL_F32, false },
    { "i4", 4, RATECL_F64, RATECL_F32, false }, { "u4", 4, RATECL_F64, RATECL_F32, false },
    { "i8", 8, RATECL_F64, RATECL_F32, false }, { "u8", 8, RATECL_F64, RATECL_F32, false },
};

/* NumPy's other names for them. It allows an order of bytes before its letters, not before words. Those
 * whose size depends on the platform are as on Linux. */
static const struct alias {
    const char *name, *code;
} aliases[] = {
    { "?", "b1" },       { "b", "i1" },       { "B", "u1" },        { "h", "i2" },      { "H", "u2" },
    { "i", "i4" },       { "I", "u4" },       { "l", "i8" },        { "L", "u8" },      { "q", "i8" },
    { "Q", "u8" },       { "p", "i8" },       { "P", "u8" },        { "n", "i8" },      { "N", "u8" },
    { "e", "f2" },       { "f", "f4" },       { "d", "f8" },        { "bool", "b1" },   { "bool_", "b1" },
    { "bool8", "b1" },   { "byte", "i1" },    { "int8", "i1" },     { "ubyte", "u1" },  { "uint8", "u1" },
    { "short", "i2" },   { "int16", "i2" },   { "ushort", "u2" },   { "uint16", "u2" }, { "intc", "i4" },
    { "int32", "i4" },   { "uintc", "u4" },   { "uint32", "u4" },   { "int", "i8" },    { "int_", "i8" },
    { "intp", "i8" },    { "long", "i8" },    { "longlong", "i8" }, { "int64", "i8" },  { "uint", "u8" },
    { "uintp", "u8" },   { "ulong", "u8" },   { "uint64", "u8" },   { "half", "f2" },   { "ulonglong", "u8" },
    { "float16", "f2" }, { "single", "f4" },  { "float32", "f4" },  { "double", "f8" }, { "float", "f8" },
    { "float_", "f8" },  { "float64", "f8" },
};

struct cursor {
    const char *at, *end;
    char *message; /* [NPY_MESSAGE_SIZE] */
};

__attribute__((format(printf, 2, 3))) static bool refuse(char *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, NPY_MESSAGE_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && memchr(" \t\n\r\f", *c->at, 5))
        c->at++;
}

/* Take `wanted` if it comes next. */
static bool take(struct cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

/* Take `word` if it comes next, without skipping any space. */
static bool take_exactly(struct cursor *c, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
        return false;
    c->at += length;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    skip_space(c);
    return take_exactly(c, word);
}

static bool refuse_next(const struct cursor *c, const char *expected)
{
    if (c->at == c->end)
        return refuse(c->message, "its header ends where %s was expected", expected);
    const unsigned char next = (unsigned char)*c->at;
    if (next < 0x20 || next > 0x7e)
        return refuse(c->message, "its header has the byte 0x%02x where %s was expected", next, expected);
    return refuse(c->message, "its header has '%c' where %s was expected", next, expected);
}

struct text {
    const char *at;
    size_t length;
};

/* A string in single, double or tripled quotes. Escapes are refused: no key or type needs one. */
static bool take_string(struct cursor *c, struct text *string)
{
    static const char *const quotes[] = { "'''", "\"\"\"", "'", "\"" };
    skip_space(c);
    const bool prefixed = c->end - c->at > 1 && memchr("uUrR", c->at[0], 4) && memchr("'\"", c->at[1], 2);
    c->at += prefixed;
    for (size_t k = 0; k < 4; k++) {
        if (!take_word(c, quotes[k]))
            continue;
        string->at = c->at;
        for (; c->at < c->end; c->at++) {
            string->length = (size_t)(c->at - string->at);
            if (take_exactly(c, quotes[k]))
                return true;
            if (*c->at < 0x20 || *c->at > 0x7e || *c->at == '\\')
                return refuse_next(c, "a plain character of a string");
        }
        break;
    }
    return refuse_next(c, "a string in quotes");
}

static bool text_is(struct text string, const char *wanted)
{
    return string.length == strlen(wanted) && memcmp(string.at, wanted, string.length) == 0;
}

static bool refuse_type(struct cursor *c, struct text name)
{
    const int length = name.length < 32 ? (int)name.length : 32;
    return refuse(c->message,
                  "its element type is '%.*s'; expected one of " TYPE_CODES " (NumPy's astype() converts)",
                  length, name.at);
}

static const struct npy_type *find_type(struct text name)
{
    for (size_t k = 0; k < sizeof aliases / sizeof *aliases; ++k)
        if (text_is(name, aliases[k].name))
            name = (struct text){ aliases[k].code, strlen(aliases[k].code) };
    for (size_t k = 0; k < sizeof types / sizeof *types; ++k)
        if (text_is(name, types[k].code))
            return &types[k];
    return NULL;
}

static bool read_type(struct cursor *c, struct npy_header *header)
{
    skip_space(c);
    if (c->at < c->end && (*c->at == '[' || *c->at == '('))
        return refuse(c->message, "its elements are structured; expected plain ones of " TYPE_CODES);
    struct text name = { NULL, 0 };
    if (!take_string(c, &name))
        return false;
    struct text code = name;
    char order = '=';
    if (code.length > 0 && code.length <= 3 && memchr("<>|=", *code.at, 4)) {
        order = *code.at++;
        code.length--;
    }
    header->type = find_type(code);
    header->big_endian = order == '>' || (order != '<' && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    return header->type || refuse_type(c, name);
}

static bool read_order(struct cursor *c, struct npy_header *header)
{
    header->fortran = take_word(c, "True");
    return header->fortran || take_word(c, "False") || refuse_next(c, "True or False for fortran_order");
}

static bool is_digit(const struct cursor *c)
{
    return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

/* A whole number above 0; Python 2 wrote an L behind it. */
static bool take_length(struct cursor *c, int64_t *length)
{
    *length = 0;
    const bool negative = take(c, '-');
    if (!negative)
        take(c, '+');
    skip_space(c);
    if (!is_digit(c))
        return refuse_next(c, "a whole number for an axis of the shape");
    const bool leading_zero = *c->at == '0';
    for (int digits = 0; is_digit(c); digits++, c->at++) {
        if (leading_zero && digits > 0 && *length == 0 && *c->at != '0')
            return refuse(c->message, "its shape has a number with a leading zero");
        if (*length > (INT64_MAX - 9) / 10)
            return refuse(c->message, "its shape has an axis too long for any file");
        *length = 10 * *length + (*c->at - '0');
    }
    take(c, 'L');
    if (negative && *length > 0)
        return refuse(c->message, "its shape has an axis of negative length");
    return *length > 0 || refuse(c->message, "its shape has an axis of length 0; expected at least 1");
}

static bool read_shape(struct cursor *c, struct npy_header *header)
{
    bool comma = false;
    header->axes = 0;
    if (!take(c, '('))
        return refuse_next(c, "a tuple for the shape");
    while (!take(c, ')')) {
        if (header->axes > 0 && !comma)
            return refuse_next(c, "',' or ')' in the shape");
        int64_t length;
        if (!take_length(c, &length))
            return false;
        if (header->axes < 3)
            header->lengths[header->axes] = length;
        header->axes++;
        comma = take(c, ',');
    }
    if (header->axes == 1 && !comma)
        return refuse(c->message, "its shape is a number; expected a tuple");
    if (header->axes < 2 || header->axes > 3)
        return refuse(c->message, "it has %d ax%s; expected 2, (time, neuron), or 3, (batch, time, neuron)",
                      header->axes, header->axes == 1 ? "is" : "es");
    header->lengths[2] = header->axes == 2 ? 1 : header->lengths[2];
    return true;
}

static const struct key {
    const char *name;
    bool (*read)(struct cursor *c, struct npy_header *header);
} keys[] = { { "descr", read_type }, { "fortran_order", read_order }, { "shape", read_shape } };
enum { KEY_COUNT = sizeof keys / sizeof *keys };

static bool read_entry(struct cursor *c, struct npy_header *header, bool seen[KEY_COUNT])
{
    struct text name = { NULL, 0 };
    if (!take_string(c, &name))
        return false;
    for (size_t k = 0; k < KEY_COUNT; k++) {
        if (!text_is(name, keys[k].name))
            continue;
        if (seen[k])
            return refuse(c->message, "its header has the key '%s' twice", keys[k].name);
        seen[k] = true;
        return take(c, ':') ? keys[k].read(c, header) : refuse_next(c, "':' after a key");
    }
    const int length = name.length < 32 ? (int)name.length : 32;
    return refuse(c->message, "its header has the key '%.*s'; expected descr, fortran_order and shape alone",
                  length, name.at);
}

static bool read_dictionary(struct cursor *c, struct npy_header *header)
{
    bool seen[KEY_COUNT] = { false };
    if (!take(c, '{'))
        return refuse_next(c, "'{'");
    bool comma = true;
    while (!take(c, '}')) {
        if (!comma)
            return refuse_next(c, "',' or '}'");
        if (!read_entry(c, header, seen))
            return false;
        comma = take(c, ',');
    }
    skip_space(c);
    if (c->at != c->end)
        return refuse_next(c, "its end");
    for (size_t k = 0; k < KEY_COUNT; k++)
        if (!seen[k])
            return refuse(c->message, "its header lacks the key '%s'", keys[k].name);
    return true;
}

static bool count_bytes(struct npy_header *header, char *message)
{
    header->data_bytes = header->type->bytes;
    for (int axis = 0; axis < 3; axis++) {
        const uint64_t length = (uint64_t)header->lengths[axis];
        if (length > ((uint64_t)INT64_MAX - header->data) / header->data_bytes)
            return refuse(message, "its shape asks for more data than any file can hold");
        header->data_bytes *= length;
    }
    return true;
}

bool npy_header_check_size(const struct npy_header *header, uint64_t size, char message[NPY_MESSAGE_SIZE])
{
    const uint64_t found = size - header->data;
    if (found == header->data_bytes)
        return true;
    return refuse(message, "it has %llu bytes of data; expected %llu for its shape and element type",
                  (unsigned long long)found, (unsigned long long)header->data_bytes);
}

bool npy_header_parse(const unsigned char *bytes, uint64_t size, struct npy_header *header,
                      char message[NPY_MESSAGE_SIZE])
{
    return npy_header_read(bytes, size, header, message) && npy_header_check_size(header, size, message);
}

bool npy_header_read(const unsigned char *bytes, uint64_t size, struct npy_header *header,
                     char message[NPY_MESSAGE_SIZE])
{
    static const unsigned char magic[] = { 0x93, 'N', 'U', 'M', 'P', 'Y' };
    const uint64_t begun = size < sizeof magic ? size : sizeof magic;
    if (size == 0)
        return refuse(message, "it is empty; expected a NumPy file");
    if (memcmp(bytes, magic, begun) != 0)
        return refuse(message, "it is no NumPy file: it does not begin with \\x93NUMPY; expected a file that "
                               "numpy.save wrote");
    if (size < 10)
        return refuse(message, "it ends within its header, after %u bytes", (unsigned)size);
    const unsigned major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return refuse(message, "its format version is %u.%u; expected 1.0, 2.0 or 3.0", major, minor);

    /* Version 1.0 has 2 bytes for the header's length, later ones have 4; little-endian in each. */
    const uint64_t start = major == 1 ? 10 : 12;
    uint64_t length = (uint64_t)bytes[8] | (uint64_t)bytes[9] << 8;
    if (major > 1 && size >= start)
        length |= (uint64_t)bytes[10] << 16 | (uint64_t)bytes[11] << 24;
    if (size < start || length > size - start)
        return refuse(message, "it ends within its header, after %llu bytes", (unsigned long long)size);

    const char *first = (const char *)bytes + start;
    struct cursor c = { first, first + length, message };
    *header = (struct npy_header){ .data = start + length };
    return read_dictionary(&c, header) && count_bytes(header, message);
}
