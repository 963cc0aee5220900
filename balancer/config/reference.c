/* The reference of all keys, as Markdown, from the tables.  `drover config
 * --reference` prints it; docs/config.md is its output, and a test compares. */
#include "balancer/config/config.h"
#include "balancer/config/keys.h"
#include "balancer/config/values.h"

/* "10ms to 24h"; the amounts go the way of a field's value. */
static void print_range(const struct key *key, FILE *out)
{
	bool is_long = key->type == VALUE_MS || key->type == VALUE_BYTES;
	if (!is_long && key->type != VALUE_COUNT && key->type != VALUE_CORES)
		return;
	const uint64_t ends[] = { key->min, key->max };
	for (int i = 0; i < 2; i++) {
		uint32_t count = (uint32_t)ends[i];
		fputs(i ? " to " : ", ", out);
		value_print(key, is_long ? (const void *)&ends[i] : (const void *)&count, out);
	}
}

static void print_key(const struct key *key, FILE *out)
{
	if (key->type == VALUE_BLOCK) {
		fprintf(out, "- **`%s`**: a block, see `%s`.\n", key->name, key->sub->title);
		return;
	}
	fprintf(out, "- **`%s`**: ", key->name);
	if (key->type != VALUE_CHOICE)
		fputs(value_wants((enum value_type)key->type), out);
	for (size_t i = 0; key->choices && key->choices[i]; i++)
		fprintf(out, "%s`%s`", i ? " | " : "", key->choices[i]);
	print_range(key, out);
	if (key->fallback)
		fprintf(out, ". Default: `%s`.\n", key->fallback);
	else if (key->flags & KEY_REQUIRED)
		fputs(". Required.\n", out);
	else
		fprintf(out, ". Left out: %s.\n", key->unset);
	fprintf(out, "  %s\n", key->help);
}

static void print_section(const struct key_table *table, FILE *out)
{
	fprintf(out, "\n## %s\n\n%s\n\n", table->title, table->help);
	if (table->example)
		fprintf(out, "```yaml\n%s```\n\n", table->example);
	for (size_t i = 0; i < table->n; i++)
		print_key(&table->keys[i], out);
	for (size_t i = 0; i < table->n; i++)
		if (table->keys[i].sub)
			print_section(table->keys[i].sub, out);
}

void config_reference(FILE *out)
{
	fputs("# Configuration reference\n"
	      "\n"
	      "Printed by `drover config --reference`, from the tables that read the file.\n"
	      "\n"
	      "Sizes: `512`, `16KiB`, `700MiB`, `1GB`. Durations: `500ms`, `10s`, `5m`, `1h`.\n"
	      "`drover check` checks a file and says what it would run; `drover config` prints "
	      "the\n"
	      "values in force and where each comes from.\n",
	      out);
	print_section(&config_keys, out);
}
