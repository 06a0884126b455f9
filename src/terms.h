/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_TERMS_H
#define RATECL_SRC_TERMS_H

#include "plan.h"

/* Check a term of any version and complete it: every field set, the metric never the default's number.
 * `name` is the argument's in messages. */
ratecl_status rc_term_complete(const ratecl_term *given, const char *name, ratecl_term *complete);

#endif
