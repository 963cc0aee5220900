/* The end of a config, by the tables that made it. */
#include "balancer/config/config.h"

#include <string.h>

#include "balancer/config/keys.h"
#include "balancer/config/origins.h"
#include "balancer/config/sources.h"
#include "balancer/config/values.h"
#include "balancer/config/words.h"
#include "common/mem.h"

/* Half-built structs are fine: what was not set is NULL. */
static void free_block(const struct key_table *table, void *base)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct key *key = &table->keys[i];
		void *field = key_field(key, base);
		if (key->type == VALUE_BLOCK)
			free_block(key->sub, field);
		else if (value_owns_text((enum value_type)key->type))
			mem_free(*(char **)field);
		else if (key->type == VALUE_COMMAND || key->type == VALUE_ENV)
			words_free(*(char ***)field);
		else if (key->type == VALUE_LISTEN_OFF)
			mem_free(((struct cfg_listen *)field)->text);
		else if (key->type == VALUE_SERVERS)
			mem_free(*(struct addr **)field);
	}
}

void config_wipe_secrets(struct config *cfg)
{
	for (size_t i = 0; i < cfg->n_apps; i++)
		for (char **variable = cfg->apps[i].env; variable && *variable; variable++)
			explicit_bzero(*variable, strlen(*variable));
	for (size_t i = 0; i < cfg->sources.n; i++)
		explicit_bzero(cfg->sources.all[i].text, cfg->sources.all[i].n);
}

struct config *config_free(struct config *cfg)
{
	if (!cfg)
		return NULL;
	for (size_t i = 0; i < cfg->n_listens; i++)
		mem_free(cfg->listens[i].text);
	for (size_t i = 0; i < cfg->n_apps; i++) {
		free_block(&app_keys, &cfg->apps[i]);
		mem_free(cfg->apps[i].name);
	}
	for (size_t i = 0; i < cfg->n_routes; i++)
		free_block(&route_keys, &cfg->routes[i]);
	free_block(&config_keys, cfg);
	mem_free(cfg->listens);
	mem_free(cfg->apps);
	mem_free(cfg->routes);
	mem_free(cfg->trust);
	mem_free(cfg->file);
	mem_free(cfg->directory);
	sources_fini(&cfg->sources);
	overrides_fini(&cfg->over);
	origins_free(cfg->origins);
	mem_free(cfg);
	return NULL;
}
