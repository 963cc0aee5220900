/* Reading the files behind a config, and keeping what was read.  In the master and in
 * `drover check`; called by load.c and env_file.c. */
#include "balancer/config/sources.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/config/words.h"
#include "common/fd.h"
#include "common/mem.h"

static const struct cfg_source *find(const struct cfg_sources *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->all[i].path, path) == 0)
			return &s->all[i];
	return NULL;
}

/* Whether this is a file that ends: a pipe could keep the master waiting for ever,
 * /dev/zero fill its memory with one line. */
static bool ends(int fd, const char **ret_why)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		*ret_why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		*ret_why = S_ISDIR(st.st_mode) ? strerror(EISDIR) : "not a regular file";
	else
		return true;
	return false;
}

static char *read_all(int fd, size_t *ret_n, const char **ret_why)
{
	char *text = mem_must_alloc(SOURCE_MAX + 1);
	size_t n = 0;
	ssize_t got = 0;
	while (n <= SOURCE_MAX && (got = read(fd, text + n, SOURCE_MAX + 1 - n)) != 0) {
		if (got > 0)
			n += (size_t)got;
		else if (errno != EINTR)
			break;
	}
	char *whole = NULL;
	if (got >= 0 && n <= SOURCE_MAX) {
		*ret_n = n;
		whole = mem_must_dupn(text, n);
	} else {
		*ret_why = got < 0 ? strerror(errno) : "larger than 1 MiB";
	}
	explicit_bzero(text, n); /* all of it would be a megabyte for a file of a few hundred bytes */
	mem_free(text);
	return whole;
}

static char *read_file(const char *path, enum source_kind kind, size_t *ret_n, const char **ret_why)
{
	int extra = kind == SOURCE_REGULAR ? O_NONBLOCK | O_NOCTTY : 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | extra);
	char *text = NULL;
	if (fd < 0)
		*ret_why = strerror(errno);
	else if (kind == SOURCE_ANY || ends(fd, ret_why))
		text = read_all(fd, ret_n, ret_why);
	fd_close(&fd);
	return text;
}

const struct cfg_source *sources_read(struct cfg_sources *to, const struct cfg_sources *kept,
				      const char *path, enum source_kind kind,
				      const char **ret_why)
{
	struct cfg_source row = { .text = NULL };
	const struct cfg_source *before = find(to, path);
	if (before)
		return before; /* env_file of several apps */
	if (kept) {
		const struct cfg_source *from = find(kept, path);
		*ret_why = "it is not among what was kept";
		if (from) {
			row.text = mem_must_alloc(from->n + 1);
			memcpy(row.text, from->text, from->n);
			row.n = from->n;
		}
	} else {
		row.text = read_file(path, kind, &row.n, ret_why);
	}
	if (!row.text)
		return NULL;
	row.text[row.n] = '\0';
	row.path = mem_must_dup(path);
	to->all = mem_must_grow(to->all, (to->n + 1) * sizeof(*to->all));
	to->all[to->n] = row;
	return &to->all[to->n++];
}

void sources_fini(struct cfg_sources *s)
{
	for (size_t i = 0; i < s->n; i++) {
		mem_free(s->all[i].path);
		mem_wipe(s->all[i].text);
	}
	mem_free(s->all);
	*s = (struct cfg_sources){ .all = NULL };
}

struct config_overrides overrides_copy(const struct config_overrides *over)
{
	struct config_overrides copy = { .listen = mem_must_dup(over->listen),
					 .name = mem_must_dup(over->name),
					 .instances = over->instances };
	char **words = NULL;

	for (size_t i = 0; over->command && over->command[i]; i++)
		words = words_push(words, i, mem_must_dup(over->command[i]));
	copy.command = words;
	return copy;
}

void overrides_fini(struct config_overrides *copy)
{
	mem_free((void *)(uintptr_t)copy->listen);
	mem_free((void *)(uintptr_t)copy->name);
	words_free((char **)(uintptr_t)copy->command);
	*copy = (struct config_overrides){ .listen = NULL };
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_overrides(const struct config_overrides *a, const struct config_overrides *b)
{
	if (!same_text(a->listen, b->listen) || !same_text(a->name, b->name) ||
	    a->instances != b->instances || !a->command != !b->command)
		return false;
	for (size_t i = 0; a->command; i++) {
		if (!same_text(a->command[i], b->command[i]))
			return false;
		if (!a->command[i])
			break;
	}
	return true;
}

bool config_same_sources(const struct config *a, const struct config *b)
{
	const struct cfg_sources *x = &a->sources, *y = &b->sources;
	if (x->n != y->n || !same_overrides(&a->over, &b->over))
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (strcmp(x->all[i].path, y->all[i].path) != 0 || x->all[i].n != y->all[i].n ||
		    memcmp(x->all[i].text, y->all[i].text, x->all[i].n) != 0)
			return false;
	return true;
}
