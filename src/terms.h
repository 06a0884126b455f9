/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_TERMS_H
#define RATECL_SRC_TERMS_H

#include "plan.h"

/* Check a term of any version and complete it: every field set, the metric never the default's number.
 * `name` is the argument's in messages.
 * Terms of an older version's size may lie in an array so that they are not aligned: hence the void. */
ratecl_status rc_term_complete(const void *given, const char *name, ratecl_term *complete);

/* Check that the parameters of a complete term are within the range of f32, in which they are to be used. */
ratecl_status rc_term_check_f32(const ratecl_term *term, const char *name);

#endif
