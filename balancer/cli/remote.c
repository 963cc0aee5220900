/* The client's side of the admin channel: HTTP/1.1, one request a connection, read to its
 * end.  Blocking, with timeouts: a command has nothing else to do. */
#include "balancer/cli/remote.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/http_parse.h"
#include "common/mem.h"
#include "common/slice.h"

#define PATIENCE_S 15 /* longer than the monitor's own limits */
#define ANSWER_MAX (256u << 20)
#define TRIES 20
#define TRY_AGAIN_MS 100

static const char *owner_of(const char *path, char buf[static 64])
{
	struct stat st;
	const struct passwd *user = stat(path, &st) == 0 ? getpwuid(st.st_uid) : NULL;

	snprintf(buf, 64, "%s", user ? user->pw_name : "its owner");
	return buf;
}

static void complain_connect(const struct instance *i, int error)
{
	char owner[64];

	switch (error) {
	case EACCES:
	case EPERM:
		cli_complain("may not connect to %s of instance %s: become %s, or root", i->socket,
			     i->name, owner_of(i->socket, owner));
		break;
	case ENOENT:
		cli_complain("the admin socket %s of instance %s is gone; kill -HUP %d makes it anew, "
			     "with a reload", i->socket, i->name, (int)i->pid);
		break;
	case ECONNREFUSED:
		cli_complain("nobody listens on %s: it was left by an instance that has ended, and "
			     "drover run replaces it", i->socket);
		break;
	case EAGAIN:
		cli_complain("%s of instance %s is busy; try again", i->socket, i->name);
		break;
	default:
		cli_complain("cannot connect to %s of instance %s: %s", i->socket, i->name,
			     strerror(error));
	}
}

/* The connected socket, or -1 with errno. */
static int dial(const struct instance *i)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct addr a;
	bool done;
	int fd;

	if (addr_unix(i->socket, &a) != ERR_OK) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (fd_connect(&a, &fd, &done) != ERR_OK)
		return -1;
	(void)!fd_set_nonblock(fd, false);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

static bool send_request(int fd, const char *method, const char *path, const char *body)
{
	char *text = mem_must_printf("%s %s HTTP/1.1\r\nHost: drover\r\nAccept: application/json\r\n"
				     "Content-Type: application/json\r\nContent-Length: %zu\r\n"
				     "Connection: close\r\n\r\n%s",
				     method, path, body ? strlen(body) : 0, body ? body : "");
	size_t n = strlen(text), done = 0;

	while (done < n) {
		ssize_t sent = send(fd, text + done, n - done, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			break;
		done += sent > 0 ? (size_t)sent : 0;
	}
	mem_free(text);
	return done == n;
}

/* To the end of the connection; the caller frees it.  errno is 0, or says what cut it. */
static char *receive(int fd, size_t *ret_n)
{
	size_t room = 16384, n = 0;
	char *text = mem_must_grow(NULL, room);

	errno = 0;
	while (n < ANSWER_MAX) {
		if (n + 1 == room)
			text = mem_must_grow(text, room *= 2);
		ssize_t got = recv(fd, text + n, room - 1 - n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	*ret_n = n;
	return text;
}

/* Takes `text`.  status 0: it is no whole reply. */
static struct answer understand(char *text, size_t n)
{
	static const struct http_limits limits = { .head_bytes = 16384, .uri_bytes = 1024, .fields = 64 };
	static struct http_head head;
	enum http_rule rule;

	if (n == 0 || http_parse_reply(&head, text, n, 0, &limits, HTTP_M_GET, &rule) != HTTP_WHOLE ||
	    (head.framing == HTTP_BODY_LENGTH && n - head.head_bytes < head.length)) {
		mem_free(text);
		return (struct answer){ .status = 0 };
	}
	n -= head.head_bytes;
	memmove(text, text + head.head_bytes, n + 1);
	return (struct answer){ head.status, text, n };
}

/* *ret_error: 0 when a whole answer came, else errno, or ECONNRESET for half of one. */
static struct answer ask_once(const struct instance *i, const char *method, const char *path,
			      const char *body, int *ret_error)
{
	struct answer none = { .status = 0 };
	size_t n = 0;
	int fd = dial(i);

	if (fd < 0) {
		*ret_error = errno;
		return none;
	}
	errno = 0;
	char *text = send_request(fd, method, path, body) ? receive(fd, &n) : NULL;
	*ret_error = errno;
	fd_close(&fd);
	if (!text)
		return none;
	struct answer a = understand(text, n);
	if (a.status)
		*ret_error = 0;
	else if (*ret_error == 0)
		*ret_error = ECONNRESET;
	return a;
}

static bool is_get(const char *method)
{
	return strcmp(method, "GET") == 0;
}

struct answer remote_try(const struct instance *i, const char *method, const char *path,
			 const char *body, int *ret_error)
{
	struct answer a = { .status = 0 };

	for (int try = 0; try < TRIES; try++) {
		if (try)
			poll(NULL, 0, TRY_AGAIN_MS);
		a = ask_once(i, method, path, body, ret_error);
		if (a.status || !is_get(method) ||
		    (*ret_error != ECONNRESET && *ret_error != EPIPE))
			break;
	}
	return a;
}

void remote_complain(const struct instance *i, const char *method, int error)
{
	if (error == EAGAIN)
		cli_complain("instance %s has not answered within %d s", i->name, PATIENCE_S);
	else if (error == ECONNRESET || error == EPIPE)
		cli_complain("instance %s ended the connection before it had answered%s", i->name,
			     is_get(method) ? "" : "; see drover status for whether it was done");
	else
		complain_connect(i, error);
}

struct answer remote_ask(const struct instance *i, const char *method, const char *path,
			 const char *body)
{
	int error = 0;
	struct answer a = remote_try(i, method, path, body, &error);

	if (!a.status)
		remote_complain(i, method, error);
	return a;
}

char *remote_worker_path(const char *word)
{
	const char *slash = strchr(word, '/');
	uint64_t n;

	if (!slash || slash == word || slice_to_u64(slice_of(slash + 1), UINT32_MAX - 1, &n) != ERR_OK)
		return NULL;
	return mem_must_printf("/api/v1/apps/%.*s/workers/%llu", (int)(slash - word), word,
			       (unsigned long long)n);
}

void answer_fini(struct answer *a)
{
	mem_free(a->text);
	a->text = NULL;
}

json_t *answer_json(const struct answer *a)
{
	json_error_t error;
	json_t *json = json_loadb(a->text, a->n, JSON_ALLOW_NUL, &error);

	if (!json)
		cli_complain("the answer cannot be read: %s", error.text);
	return json;
}

int answer_refused(const struct answer *a)
{
	json_t *json = a->status ? json_loadb(a->text, a->n, 0, NULL) : NULL;
	const char *detail = json_string_value(json_object_get(json, "detail"));

	if (a->status)
		cli_complain("%s", detail ? detail : "it was refused without a reason");
	json_decref(json);
	return EXIT_FAILED;
}
