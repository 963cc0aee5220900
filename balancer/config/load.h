/* Between load.c (blocks, defaults, command line) and fields.c (lists, maps and
 * other fields that are more than one scalar).  Private to config/. */
#ifndef DROVER_CONFIG_LOAD_H
#define DROVER_CONFIG_LOAD_H

#include "balancer/config/keys.h"
#include "balancer/config/origins.h"
#include "balancer/config/tree.h"
#include "common/base.h"

struct loader {
	struct config *cfg;
	struct report *report;
	const struct cfg_sources *kept; /* what stands for the files; NULL: they are read */
	const struct config_overrides *over;
	struct tree file;  /* what was read */
	struct tree extra; /* what stands for defaults and the command line */
	char where[256];   /* the key that is being read: "apps.web.stop.signal" */
};

/* Goes down to `name` in where; gives what load_leave() needs to come back. */
MUST_CHECK size_t load_enter(struct loader *ld, const char *name);
void load_leave(struct loader *ld, size_t mark);

/* An error about the key that is being read; returns false. */
bool load_refuse(struct loader *ld, struct place at, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Reads the keys of `table` from `map` (NULL: all defaults) into `base`.  Rows
 * with a flag in `skip` are left alone and refused when given. */
bool load_block(struct loader *ld, const struct key_table *table, void *base,
		const struct node *map, uint32_t skip);

/* A legal name for what may be none: other characters become '-'. */
char *load_name_from(const char *text, size_t n);

/* "0.0.0.0" and "[::]": every address of the machine. */
static inline bool addr_is_any(const struct addr *a)
{
	return (a->sa.sa_family == AF_INET && a->in.sin_addr.s_addr == htonl(INADDR_ANY)) ||
	       (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr));
}

/* Reads one field that no single scalar holds (fields.c).  False when reported. */
bool field_set(struct loader *ld, const struct key *key, void *field, const struct node *node);

/* Adds the variables of a file to `*env`, those that are not there yet
 * (env_file.c).  False when reported, at `at`. */
bool env_file_read(struct loader *ld, const char *path, struct place at, char ***env);

/* Position of `name` in "NAME=value" texts, or -1. */
long env_find(char *const *env, const char *name, size_t n_name);

/* Whether drover itself sets this variable for every worker, so that a value of
 * the user's would be overwritten. */
bool env_is_ours(const char *name, size_t n_name);

/* The rules that span keys (check.c). */
void check_config(const struct config *cfg, struct report *r);

#endif
