/* The key tables.  From a row come parsing, default, range errors, override by
 * the command line, free, the dump, the reference page and the check of
 * conf/drover.yaml: whatever is to be known about a key is in its row. */
#ifndef DROVER_CONFIG_KEYS_H
#define DROVER_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a key holds.  The type of the field in the struct stands behind each. */
enum value_type {
	VALUE_COUNT = 0, /* uint32_t */
	VALUE_CORES,     /* uint32_t; "auto" = usable cores */
	VALUE_BYTES,     /* uint64_t */
	VALUE_MS,        /* uint64_t, milliseconds */
	VALUE_SIGNAL,    /* int */
	VALUE_CHOICE,    /* uint32_t, index into choices */
	VALUE_PORTS,     /* two uint16_t side by side */
	VALUE_NAME,      /* char * */
	VALUE_USER,      /* char * or NULL */
	VALUE_PATH,      /* char *, absolute */
	VALUE_FILE,      /* char *, absolute or "-"; NULL for "off" */
	VALUE_PATH_OFF,  /* char *, absolute; NULL for "off" */
	VALUE_SOCKET,    /* char *, absolute or "auto"; NULL for "off" */
	VALUE_LISTEN_OFF, /* struct cfg_listen; its text is NULL for "off" */
	VALUE_HOST,      /* char * or NULL, lower case */
	VALUE_PREFIX,    /* char * or NULL, begins with '/' */
	VALUE_TARGET,    /* the same, and may have a query */
	VALUE_RLIMIT,    /* uint64_t; "inherit", "unlimited" */
	VALUE_NICE,      /* int, -20 to 19 */
	VALUE_CPUS,      /* char * or NULL: "0-3,8" */
	VALUE_PERCENT,   /* uint32_t */
	VALUE_SCALARS,   /* the types above are read from one scalar by values.c */

	VALUE_BLOCK = VALUE_SCALARS, /* keys of `sub`, in the same struct */
	VALUE_LISTENS,               /* struct cfg_listen *, size_t */
	VALUE_ADDRESS,               /* struct cfg_listen, the one this row is part of */
	VALUE_APPS,                  /* struct cfg_app *, size_t */
	VALUE_ROUTES,                /* struct cfg_route *, size_t */
	VALUE_APP,                   /* uint32_t, index of an app by its name */
	VALUE_COMMAND,               /* char ** */
	VALUE_SERVERS,               /* struct addr *, size_t */
	VALUE_ENV,                   /* char **, "NAME=value" */
	VALUE_ENV_FILE,              /* the same, added to it */
	VALUE_TRUST,                 /* struct addr_block *, size_t */
	VALUE_TYPE_MAX
};

enum key_flag {
	KEY_REQUIRED = 1u << 0,
	KEY_OWN = 1u << 1, /* only for apps that drover starts: those with a command */
};

struct key_table;

struct key {
	const char *name;
	uint32_t type;               /* enum value_type */
	size_t offset;               /* in the table's struct */
	const char *fallback;        /* the default as a user would write it; NULL: none */
	uint64_t min, max;           /* inclusive; of numbers, or of entries in a list */
	const char *const *choices;  /* VALUE_CHOICE: names in the order of the enum, then NULL */
	const struct key_table *sub; /* VALUE_BLOCK, LISTENS, APPS, ROUTES */
	uint32_t flags;              /* enum key_flag */
	const char *unset;           /* without a default: what then happens, for the reference */
	const char *help;            /* sentences for the reference */
};

struct key_table {
	const char *title; /* of the section in the reference: "stop of an app" */
	const char *help;
	const char *example; /* YAML, or NULL */
	const struct key *keys;
	size_t n;
};

extern const struct key_table config_keys; /* the top of the file; struct config */
extern const struct key_table app_keys;    /* one entry of apps; struct cfg_app */
extern const struct key_table listen_keys; /* long form; struct cfg_listen */
extern const struct key_table route_keys;  /* one entry of routes; struct cfg_route */

const struct key *key_find(const struct key_table *table, const char *name); /* or NULL */

/* The known key nearest to a misspelt one, or NULL. */
const char *key_nearest(const struct key_table *table, const char *name);

/* The field of `key` in `base`, the struct of its table. */
static inline void *key_field(const struct key *key, void *base)
{
	return (char *)base + key->offset;
}

/* Limits that more than one row or rule needs. */
#define CONFIG_APPS_MAX 32     /* half of what the roster holds: old and new side by side */
#define CONFIG_WORKERS_MAX 512 /* likewise */
#define CONFIG_BALANCERS_MAX 64

#endif
