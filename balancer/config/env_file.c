/* Files of NAME=value lines, as systemd, docker and dotenv read them:
 *
 *   # comment               export NAME=value
 *   NAME=value              NAME="with \"escapes\" and \n"     NAME='literal'
 *
 * No variable is replaced and no line continued.  Read by the master, with its
 * rights, while a config is loaded.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/config/load.h"
#include "balancer/config/sources.h"
#include "balancer/config/utf8.h"
#include "balancer/config/words.h"
#include "common/mem.h"

#define VARIABLES_MAX 1000 /* of one app, as many as env may hold */
#define BLANKS " \t\r\n"

struct env_file {
	struct loader *ld;
	const char *path;
	struct place at; /* of the key that names the file */
	uint32_t line;
	size_t n_own; /* variables that env gave: they win */
};

static bool refuse(const struct env_file *f, const char *why)
{
	return load_refuse(f->ld, f->at, "%s:%u: %s", f->path, f->line, why);
}

/* The value at `p` into `out`, which has room for it; NULL, or what is wrong. */
static const char *take_value(const char *p, char *out)
{
	char quote = *p == '"' || *p == '\'' ? *p++ : '\0';
	if (!quote) {
		const char *comment = strstr(p, " #");
		size_t n = comment ? (size_t)(comment - p) : strlen(p);
		while (n > 0 && strchr(BLANKS, p[n - 1]))
			n--;
		memcpy(out, p, n);
		out[n] = '\0';
		return NULL;
	}
	for (; *p != quote; p++) {
		if (*p == '\0' || *p == '\n')
			return "a quote is not closed";
		if (quote == '"' && *p == '\\' && p[1] && p[1] != '\n')
			*out++ = *++p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
		else
			*out++ = *p;
	}
	*out = '\0';
	p += 1 + strspn(p + 1, BLANKS);
	return *p && *p != '#' ? "something stands behind the closing quote" : NULL;
}

static bool read_line(const struct env_file *f, const char *p, char ***env, size_t *n)
{
	p += strspn(p, BLANKS);
	if (*p == '\0' || *p == '#')
		return true;
	if (strncmp(p, "export", 6) == 0 && (p[6] == ' ' || p[6] == '\t'))
		p += 6 + strspn(p + 6, BLANKS);
	size_t n_name = strcspn(p, "= \t\r\n");
	if (n_name == 0 || p[n_name] != '=')
		return refuse(f, "is not NAME=value");
	for (size_t i = 0, len; p[i]; i += len) {
		uint32_t code;
		len = utf8_decode(p + i, strlen(p + i), &code);
		if (len == 0)
			return refuse(f, "is not valid UTF-8");
	}
	if (env_is_ours(p, n_name)) /* a file that also serves without drover */
		return true;
	long known = env_find(*env, p, n_name);
	if (known >= 0 && (size_t)known < f->n_own)
		return true;
	if (known < 0 && *n == VARIABLES_MAX)
		return refuse(f, "has more variables than an app may have (1000)");
	char *variable = mem_must_alloc(strlen(p) + 1);
	memcpy(variable, p, n_name + 1);
	const char *why = take_value(p + n_name + 1, variable + n_name + 1);
	if (why) {
		mem_wipe(variable);
		return refuse(f, why);
	}
	if (known < 0) {
		*env = words_push(*env, (*n)++, variable);
	} else { /* said again: the last line wins, as in a shell */
		assert(*env);
		mem_wipe((*env)[known]);
		(*env)[known] = variable;
	}
	return true;
}

bool env_file_read(struct loader *ld, const char *path, struct place at, char ***env)
{
	struct env_file f = { .ld = ld, .path = path, .at = at };
	const char *why;
	const struct cfg_source *source =
		sources_read(&ld->cfg->sources, ld->kept, path, SOURCE_REGULAR, &why);
	if (!source)
		return load_refuse(ld, at, "%s cannot be read: %s", path, why);
	/* Lines are cut in a copy. */
	char *text = mem_must_dupn(source->text, source->n);
	size_t n = 0;
	bool good = true;
	while (*env && (*env)[n])
		n++;
	f.n_own = n;
	for (char *line = text, *end = text + source->n; good && line < end;) {
		char *newline = memchr(line, '\n', (size_t)(end - line));
		char *next = newline ? newline + 1 : end;
		if (newline)
			*newline = '\0';
		f.line++;
		if (strlen(line) != (size_t)((newline ? newline : end) - line))
			good = refuse(&f, "has a NUL byte");
		else
			good = read_line(&f, line, env, &n);
		line = next;
	}
	mem_wipe(text);
	for (size_t i = f.n_own; i < n; i++)
		origins_add(ld->cfg->origins, (*env)[i], at, false);
	return good;
}
