/* Which app a request is for: the first route that matches.  Runs in the balancer. */
#include "balancer/proxy/route.h"

/* The authority without its port: "a.example:80", "[::1]:80". */
static struct slice host_name(struct slice host)
{
	for (size_t i = host.n; i-- > 0;) {
		char c = host.p[i];
		if (c == ':')
			return (struct slice){ host.p, i };
		if (c < '0' || c > '9')
			break;
	}
	return host;
}

static bool host_matches(const char *pattern, struct slice name)
{
	struct slice want = slice_of(pattern);
	if (name.n && name.p[name.n - 1] == '.') /* a fully qualified name with its root dot */
		name.n--;
	if (want.n > 2 && want.p[0] == '*' && want.p[1] == '.') {
		struct slice suffix = { want.p + 1, want.n - 1 };
		return name.n > suffix.n &&
		       slice_ieq((struct slice){ name.p + name.n - suffix.n, suffix.n }, suffix);
	}
	return slice_ieq(name, want);
}

/* A prefix that ends at a segment border: "/v1" matches "/v1", "/v1/x", "/v1?q". */
static bool path_matches(const char *prefix, struct slice path)
{
	struct slice want = slice_of(prefix);
	if (!slice_starts(path, want))
		return false;
	if (path.n == want.n || (want.n && want.p[want.n - 1] == '/'))
		return true;
	char next = path.p[want.n];
	return next == '/' || next == '?';
}

uint32_t route_find(const struct config *cfg, struct slice host, struct slice path)
{
	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct cfg_route *r = &cfg->routes[i];
		if (r->host && !host_matches(r->host, host_name(host)))
			continue;
		if (r->path && !path_matches(r->path, path))
			continue;
		return r->app;
	}
	return ROUTE_NONE;
}
