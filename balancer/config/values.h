/* The scalar types: text to field, field to text. */
#ifndef DROVER_CONFIG_VALUES_H
#define DROVER_CONFIG_VALUES_H

#include <stdio.h>

#include "balancer/config/keys.h"
#include "common/base.h"

/* Why a value was refused, as the rest of a sentence that begins with the key
 * and the value; and what to write instead (may stay empty). */
struct value_refusal {
	char why[256];
	char hint[256];
};

/* Reads `text` (NUL-terminated) into the field of `key`, a scalar type.  Text
 * fields are replaced and owned by the struct.  Relative paths are put behind
 * `directory`.  False: *ret_refusal is filled, the field is untouched. */
MUST_CHECK bool value_parse(const struct key *key, const char *text, const char *directory,
			    void *field, struct value_refusal *ret_refusal);

/* Prints the field so that value_parse() reads the same again.  NULL texts print
 * as the word that means them ("off"), or nothing. */
void value_print(const struct key *key, const void *field, FILE *out);

/* "a duration like 500ms, 10s, 5m or 1h"; for any type, lists and blocks too. */
const char *value_wants(enum value_type type);

/* Whether the field is a char * that free must end. */
bool value_owns_text(enum value_type type);

/* A YAML scalar: plain where that is safe, else in double quotes. */
void value_print_text(const char *text, FILE *out);

#endif
