/* Scalars that are numbers, with and without a unit: text to field, field to text. */
#include "balancer/config/value_types.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/config/config.h"
#include "common/err.h"
#include "common/proc.h"
#include "common/slice.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit time_units[] = {
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
};

static const struct unit size_units[] = {
	{ "GiB", 1ull << 30 },
	{ "MiB", 1ull << 20 },
	{ "KiB", 1ull << 10 },
	{ "GB", 1000000000 },
	{ "MB", 1000000 },
	{ "kB", 1000 },
	{ "B", 1 },
};

/* What people from elsewhere write, and what they mean here. */
static const char *const unit_means[][2] = {
	{ "sec", "s" },     { "secs", "s" },  { "second", "s" },  { "seconds", "s" },
	{ "S", "s" },       { "min", "m" },   { "mins", "m" },    { "minute", "m" },
	{ "minutes", "m" }, { "M", "m" },     { "hour", "h" },    { "hours", "h" },
	{ "H", "h" },       { "msec", "ms" }, { "millis", "ms" }, { "k", "KiB" },
	{ "K", "KiB" },     { "m", "MiB" },   { "M", "MiB" },     { "g", "GiB" },
	{ "G", "GiB" },     { "KB", "kB" },   { "kb", "kB" },     { "mb", "MB" },
	{ "gb", "GB" },     { "kib", "KiB" }, { "mib", "MiB" },   { "gib", "GiB" },
	{ "b", "B" },
};

static const struct unit *find_unit(const struct unit *units, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

static void print_amount(uint64_t value, const struct unit *units, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		if (value % units[i].factor == 0 && value != 0) {
			fprintf(out, "%llu%s", (unsigned long long)(value / units[i].factor),
				units[i].name);
			return;
		}
	}
	fputs("0", out);
}

void value_print_number(const struct key *key, uint64_t value, FILE *out)
{
	if (key->type == VALUE_MS && value == 0)
		fputs("0s", out);
	else if (key->type == VALUE_MS)
		print_amount(value, time_units, ARRAY_LEN(time_units), out);
	else if (key->type == VALUE_BYTES)
		print_amount(value, size_units, ARRAY_LEN(size_units), out);
	else
		fprintf(out, "%llu", (unsigned long long)value);
}

static bool in_range(struct value_input *p, uint64_t value)
{
	const struct key *key = p->key;
	if (value >= key->min && value <= key->max)
		return true;
	FILE *out = fmemopen(p->refusal->why, sizeof(p->refusal->why), "w");
	if (!out)
		return value_refuse(p, "out of range");
	fputs("must be from ", out);
	value_print_number(key, key->min, out);
	fputs(" to ", out);
	value_print_number(key, key->max, out);
	fclose(out);
	return false;
}

/* Digits, then a unit. */
static bool parse_amount(struct value_input *p, const struct unit *units, size_t n,
			 uint64_t *ret_value)
{
	const char *wants = value_wants((enum value_type)p->key->type);
	size_t digits = strspn(p->text, "0123456789");
	const char *name = p->text + digits;
	uint64_t number;
	if (digits == 0)
		return value_refuse(p, "is not %s", wants);
	enum err e = slice_to_u64((struct slice){ p->text, digits }, UINT64_MAX, &number);
	const struct unit *unit = find_unit(units, n, name);
	if (*name == '\0' && number == 0)
		unit = &units[n - 1]; /* 0 is 0 in every unit */
	if (unit) {
		if (e != ERR_OK || number > UINT64_MAX / unit->factor)
			number = UINT64_MAX, unit = &units[n - 1]; /* past every range */
		*ret_value = number * unit->factor;
		return in_range(p, *ret_value);
	}
	if (*name == '\0')
		return value_refuse(p, "has no unit; expected %s", wants);
	for (size_t i = 0; i < ARRAY_LEN(unit_means); i++) {
		if (strcmp(unit_means[i][0], name) != 0 || !find_unit(units, n, unit_means[i][1]))
			continue;
		value_hint(p, "write %.*s%s", (int)MIN(digits, 30u), p->text, unit_means[i][1]);
	}
	return value_refuse(p, "is not %s", wants);
}

bool value_parse_ms(struct value_input *p)
{
	uint64_t value = 0;
	if (!parse_amount(p, time_units, ARRAY_LEN(time_units), &value))
		return false;
	*(uint64_t *)p->field = value;
	return true;
}

bool value_parse_bytes(struct value_input *p)
{
	uint64_t value = 0;
	if (p->text[0] && p->text[strspn(p->text, "0123456789")] == '\0') {
		if (slice_to_u64(slice_of(p->text), UINT64_MAX, &value) != ERR_OK)
			value = UINT64_MAX;
		if (!in_range(p, value))
			return false;
	} else if (!parse_amount(p, size_units, ARRAY_LEN(size_units), &value)) {
		return false;
	}
	*(uint64_t *)p->field = value;
	return true;
}

bool value_parse_rlimit(struct value_input *p)
{
	static const struct {
		const char *word;
		uint64_t value;
	} words[] = {
		{ "inherit", CFG_RLIMIT_INHERIT },
		{ "unlimited", CFG_RLIMIT_NONE },
		{ "infinity", CFG_RLIMIT_NONE },
	};
	uint64_t value = 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(p->text, words[i].word) == 0) {
			*(uint64_t *)p->field = words[i].value;
			return true;
		}
	}
	const struct key any = { .name = p->key->name, .type = VALUE_RLIMIT, .max = INT64_MAX };
	struct value_input inner = *p;
	inner.key = &any;
	inner.field = &value;
	if (!value_parse_bytes(&inner))
		return false;
	*(uint64_t *)p->field = value;
	return true;
}

bool value_parse_nice(struct value_input *p)
{
	const char *digits = p->text + (p->text[0] == '-');
	size_t n = strlen(digits);
	if (n < 1 || n > 2 || digits[strspn(digits, "0123456789")])
		return value_refuse(p, "is not %s", value_wants(VALUE_NICE));
	int value = atoi(p->text);
	if (value < -20 || value > 19)
		return value_refuse(p, "must be from -20 to 19");
	*(int *)p->field = value;
	return true;
}

bool value_parse_percent(struct value_input *p)
{
	size_t digits = strspn(p->text, "0123456789");
	uint64_t value;
	if (!digits || slice_to_u64((struct slice){ p->text, digits }, UINT64_MAX, &value) ||
	    (strcmp(p->text + digits, "%") != 0 && (p->text[digits] || value != 0)))
		return value_refuse(p, "is not %s", value_wants(VALUE_PERCENT));
	if (!in_range(p, value))
		return false;
	*(uint32_t *)p->field = (uint32_t)value;
	return true;
}

bool value_parse_count(struct value_input *p)
{
	uint64_t value;
	const char *digits = p->text + (p->text[0] == '-');
	if (!digits[0] || digits[strspn(digits, "0123456789")])
		return value_refuse(p, "is not %s", value_wants((enum value_type)p->key->type));
	if (slice_to_u64(slice_of(p->text), UINT64_MAX, &value) != ERR_OK)
		value = UINT64_MAX; /* negative, or longer than 64 bits: no range has it */
	if (!in_range(p, value))
		return false;
	*(uint32_t *)p->field = (uint32_t)value;
	return true;
}

bool value_parse_cores(struct value_input *p)
{
	if (strcmp(p->text, "auto") != 0)
		return value_parse_count(p);
	uint32_t cores = proc_usable_cores();
	*(uint32_t *)p->field = (uint32_t)MIN((uint64_t)cores, p->key->max);
	return true;
}

static bool parse_port(struct slice s, uint16_t *ret_port)
{
	uint64_t value;
	if (slice_to_u64(s, 65535, &value) != ERR_OK || value == 0)
		return false;
	*ret_port = (uint16_t)value;
	return true;
}

bool value_parse_ports(struct value_input *p)
{
	uint16_t *range = p->field, low, high;
	const char *dash = strchr(p->text, '-');
	struct slice first = slice_of(p->text), last = first;
	if (dash) {
		first.n = (size_t)(dash - p->text);
		last = slice_of(dash + 1);
	}
	if (!parse_port(slice_trim(first), &low) || !parse_port(slice_trim(last), &high))
		return value_refuse(p, "is not %s", value_wants(VALUE_PORTS));
	if (low > high)
		return value_refuse(p, "begins above its end");
	range[0] = low;
	range[1] = high;
	return true;
}
