/* SPDX-License-Identifier: Apache-2.0 */
/* A strict JSON parser, just large enough for the command's output. */
#ifndef RATECL_TESTS_COMMAND_JSON_H
#define RATECL_TESTS_COMMAND_JSON_H

#include <check.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    double number;
    char key[64];     /* of a member */
    char string[512]; /* escapes as they are written */
    struct json *child, *next;
};

static inline void json_free(struct json *value)
{
    while (value) {
        struct json *next = value->next;
        json_free(value->child);
        free(value);
        value = next;
    }
}

static inline void json_skip(const char **text)
{
    *text += strspn(*text, " \t\n\r");
}

static inline void json_expect(const char **text, char wanted)
{
    json_skip(text);
    ck_assert_msg(**text == wanted, "JSON: expected %c at: %s", wanted, *text);
    ++*text;
}

static inline void json_read_string(const char **text, char *string, size_t size)
{
    json_expect(text, '"');
    size_t length = 0;
    for (; **text != '"'; ++*text) {
        ck_assert_msg((unsigned char)**text >= 0x20, "JSON: a bare control character in a string");
        ck_assert_uint_lt(length, size - 2);
        if (**text == '\\')
            string[length++] = *(*text)++;
        string[length++] = **text;
    }
    string[length] = '\0';
    ++*text;
}

/* JSON's grammar of numbers is narrower than strtod's. */
static inline double json_read_number(const char **text)
{
    const char *at = *text + (**text == '-');
    ck_assert_msg(isdigit((unsigned char)*at) && !(at[0] == '0' && isdigit((unsigned char)at[1])),
                  "JSON: no value at: %s", *text);
    const size_t length = strspn(*text, "-+.0123456789eE");
    char *end;
    const double number = strtod(*text, &end);
    ck_assert_uint_eq((size_t)(end - *text), length);
    *text = end;
    return number;
}

static inline struct json *json_read(const char **text);

static inline void json_read_items(const char **text, struct json *parent, char close)
{
    struct json **last = &parent->child;
    json_skip(text);
    if (**text == close) {
        ++*text;
        return;
    }
    for (;;) {
        char key[64] = "";
        if (parent->kind == JSON_OBJECT) {
            json_read_string(text, key, sizeof key);
            json_expect(text, ':');
        }
        *last = json_read(text);
        memcpy((*last)->key, key, sizeof key);
        last = &(*last)->next;
        json_skip(text);
        if (**text == close)
            break;
        json_expect(text, ',');
    }
    ++*text;
}

static inline struct json *json_read(const char **text)
{
    static const char *const words[] = { "null", "false", "true" };
    struct json *value = calloc(1, sizeof *value);
    ck_assert_ptr_nonnull(value);
    json_skip(text);
    if (**text == '{' || **text == '[') {
        value->kind = **text == '{' ? JSON_OBJECT : JSON_ARRAY;
        ++*text;
        json_read_items(text, value, value->kind == JSON_OBJECT ? '}' : ']');
        return value;
    }
    if (**text == '"') {
        value->kind = JSON_STRING;
        json_read_string(text, value->string, sizeof value->string);
        return value;
    }
    for (int k = JSON_NULL; k <= JSON_TRUE; k++)
        if (strncmp(*text, words[k], strlen(words[k])) == 0) {
            value->kind = (enum json_kind)k;
            *text += strlen(words[k]);
            return value;
        }
    value->kind = JSON_NUMBER;
    value->number = json_read_number(text);
    return value;
}

/* One value and nothing behind it but white space. */
static inline struct json *json_parse(const char *text)
{
    struct json *value = json_read(&text);
    json_skip(&text);
    ck_assert_msg(*text == '\0', "JSON: more follows: %s", text);
    return value;
}

/* A member of an object; NULL where there is none. */
static inline const struct json *json_member(const struct json *object, const char *key)
{
    ck_assert_int_eq(object->kind, JSON_OBJECT);
    const struct json *child = object->child;
    while (child && strcmp(child->key, key) != 0)
        child = child->next;
    return child;
}

static inline const struct json *json_get(const struct json *object, const char *key, enum json_kind kind)
{
    const struct json *member = json_member(object, key);
    ck_assert_msg(member != NULL, "JSON: no member \"%s\"", key);
    ck_assert_msg(member->kind == kind, "JSON: \"%s\" is of kind %d", key, (int)member->kind);
    return member;
}

static inline const struct json *json_item(const struct json *array, size_t index)
{
    ck_assert_int_eq(array->kind, JSON_ARRAY);
    const struct json *child = array->child;
    for (; child && index > 0; index--)
        child = child->next;
    ck_assert_msg(child != NULL, "JSON: the array is too short");
    return child;
}

static inline size_t json_count(const struct json *value)
{
    size_t count = 0;
    for (const struct json *child = value->child; child; child = child->next)
        count++;
    return count;
}

#endif
