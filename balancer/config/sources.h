/* The bytes that a config was read from: its file, then the env_files of its apps.  They
 * stay with the config, so that a master can hand it to its successor as it was, whatever
 * has become of the files.  Private to config/, but for the structs in config.h. */
#ifndef DROVER_CONFIG_SOURCES_H
#define DROVER_CONFIG_SOURCES_H

#include <stddef.h>

#include "balancer/config/config.h"

#define SOURCE_MAX (1024 * 1024) /* bytes of one file */

/* What may stand for a file: a config given as a pipe is read to its end, an env_file
 * (named inside another file) must be one that has an end. */
enum source_kind { SOURCE_ANY = 0, SOURCE_REGULAR };

/* Adds the bytes at `path` to `to` and returns the row, which `to` owns: those of `kept`
 * when it is not NULL, else those of the file.  NULL: *ret_why says why not. */
const struct cfg_source *sources_read(struct cfg_sources *to, const struct cfg_sources *kept,
				      const char *path, enum source_kind kind,
				      const char **ret_why);
void sources_fini(struct cfg_sources *s);

/* A copy of what the command line has said; ended with overrides_fini(). */
struct config_overrides overrides_copy(const struct config_overrides *over);
void overrides_fini(struct config_overrides *copy);

#endif
