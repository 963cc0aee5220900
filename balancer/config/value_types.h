/* What the scalar types share; for values.c and value_numbers.c alone. */
#ifndef DROVER_CONFIG_VALUE_TYPES_H
#define DROVER_CONFIG_VALUE_TYPES_H

#include "balancer/config/values.h"

struct value_input {
	const struct key *key;
	const char *text;
	const char *directory;
	void *field;
	struct value_refusal *refusal;
};

/* Fills the refusal's `why`; false, so that a parser can return it. */
bool value_refuse(struct value_input *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void value_hint(struct value_input *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Each reads p->text into p->field; false: refused. */
bool value_parse_count(struct value_input *p);
bool value_parse_cores(struct value_input *p);
bool value_parse_bytes(struct value_input *p);
bool value_parse_ms(struct value_input *p);
bool value_parse_rlimit(struct value_input *p);
bool value_parse_nice(struct value_input *p);
bool value_parse_percent(struct value_input *p);
bool value_parse_ports(struct value_input *p);

/* With the largest unit of the key's type that divides it. */
void value_print_number(const struct key *key, uint64_t value, FILE *out);

#endif
