/* Files from a directory, in the order of this file:
 *
 *   decode_path     "/a%20b/" -> "a b/"; refuses what no file here is called
 *   open_beneath    openat2(2): the kernel keeps the lookup inside the root
 *   files_begin     directory, redirect, index.html, or the file itself
 *   send_file       preconditions, range, head; connection.c does the sendfile(2)
 *
 * Runs in drover-worker.  Nothing outside settings.root can be reached: neither
 * "..", nor an absolute symbolic link, nor one that climbs out is followed, and
 * the kernel checks it, not this code.  Names that start with a dot don't exist.
 */
#include "worker/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/http_write.h"
#include "common/log.h"
#include "worker/connection.h"
#include "worker/preconditions.h"
#include "worker/reply.h"
#include "worker/routes.h"
#include "worker/server.h"

#define PATH_BYTES 4096   /* PATH_MAX: the kernel takes no longer ones */
#define INDEX "index.html"
#define RETRIES 8         /* openat2 says EAGAIN when a rename crosses its way */

static const struct {
	const char *extension, *type;
} types[] = {
#define TYPE(extension, type) { extension, type },
#include "worker/media_types.def"
#undef TYPE
};

static const char *type_of(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *dot = strrchr(slash ? slash : name, '.');

	for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
		if (slice_ieq(slice_of(dot + 1), slice_of(types[i].extension)))
			return types[i].type;
	return "application/octet-stream";
}

static int open_beneath(int root, const char *name, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -1;

	for (int i = 0; i < RETRIES; i++) {
		fd = syscall(SYS_openat2, root, name, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return (int)fd;
}

int files_open_root(const char *directory)
{
	int root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -1;
	/* Without openat2 there is no safe lookup, so there is none. */
	int probe = open_beneath(root, ".", O_PATH);

	if (probe < 0)
		fd_close(&root);
	fd_close(&probe);
	return root;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at p[*i], which is moved past an escape.  -1: a broken escape. */
static int unescape(struct slice path, size_t *i)
{
	if (path.p[*i] != '%')
		return (uint8_t)path.p[*i];
	if (path.n - *i < 3)
		return -1;
	int high = hex(path.p[*i + 1]), low = hex(path.p[*i + 2]);

	*i += 2;
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Decodes once, folds runs of slashes, drops the leading one.  0, or the status
 * to answer: 400 for a broken escape or a NUL; 404 for an escaped slash, and for
 * a name that starts with a dot, which "." and ".." do too; 414 when too long. */
static uint16_t decode_path(struct slice path, char name[static PATH_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < path.n; i++) {
		bool escaped = path.p[i] == '%';
		bool starts = n == 0 || name[n - 1] == '/';
		int c = unescape(path, &i);

		if (c <= 0)
			return 400;
		if (c == '/' && starts && !escaped)
			continue;
		if ((c == '/' && escaped) || (c == '.' && starts))
			return 404;
		if (n + sizeof(INDEX) >= PATH_BYTES)
			return 414;
		name[n++] = (char)c;
	}
	name[n] = '\0';
	return 0;
}

static void refuse_errno(struct connection *c, int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		reply_error(c, 403, "This file may not be read", (struct slice){ 0 });
		break;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		reply_error(c, 503, "The server is short of resources", SLICE("Retry-After: 1\r\n"));
		break;
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
	case EISDIR:
	case ELOOP:
	case EXDEV: /* it would have left the root */
	case ENXIO: /* a socket or pipe */
		reply_error(c, 404, "There is no such file", (struct slice){ 0 });
		break;
	default:
		log_error("cannot open a file: %s", strerror(error));
		reply_error(c, 500, "The file cannot be read", (struct slice){ 0 });
		break;
	}
}

/* 301 to the same path with a slash.  Leading slashes are folded to one: two
 * would make the first segment a host name (RFC 3986 4.2). */
static void redirect_to_slash(struct connection *c, const struct ask *ask)
{
	char fields[17 * 1024]; /* path and query together are below server_limits.uri_bytes */
	struct http_out o = { .p = fields, .end = fields + sizeof(fields) };
	struct slice path = ask->path;

	while (path.n > 1 && path.p[1] == '/')
		path = (struct slice){ path.p + 1, path.n - 1 };
	http_out_text(&o, "Location: ");
	http_out_slice(&o, path);
	http_out_text(&o, "/");
	if (ask->query.n > 0) {
		http_out_text(&o, "?");
		http_out_slice(&o, ask->query);
	}
	http_out_text(&o, "\r\n");
	reply_error(c, 301, "This directory's address ends with a slash",
		    (struct slice){ fields, (size_t)(o.p - fields) });
}

/* Strong: two files of the same tag are the same inode, length and nanosecond. */
static struct slice etag_of(const struct stat *st, char buf[static 64])
{
	int n = snprintf(buf, 64, "\"%llx.%lx-%llx-%llx\"", (unsigned long long)st->st_mtim.tv_sec,
			 (unsigned long)st->st_mtim.tv_nsec, (unsigned long long)st->st_size,
			 (unsigned long long)st->st_ino);

	return (struct slice){ buf, (size_t)n };
}

/* The fields that describe the file whichever part of it is sent. */
static void put_description(struct http_out *o, const struct representation *r)
{
	char date[HTTP_DATE_BYTES];

	http_out_field(o, SLICE("ETag"), r->etag);
	/* RFC 9110 8.8.2.1: never a date in the future. */
	if (r->modified <= clock_wall().tv_sec)
		http_out_field(o, SLICE("Last-Modified"), http_date_of(r->modified, date));
	http_out_text(o, "Accept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n");
}

static void put_content_range(struct http_out *o, uint64_t first, uint64_t n, uint64_t bytes)
{
	http_out_text(o, "Content-Range: bytes ");
	if (n > 0) {
		http_out_u64(o, first);
		http_out_text(o, "-");
		http_out_u64(o, first + n - 1);
	} else {
		http_out_text(o, "*");
	}
	http_out_text(o, "/");
	http_out_u64(o, bytes);
	http_out_text(o, "\r\n");
}

/* Takes `fd`. */
static void send_file(struct connection *c, const struct ask *ask, int fd, const struct stat *st,
		      const char *name)
{
	char tag[64], fields[512];
	struct http_out o = { .p = fields, .end = fields + sizeof(fields) };
	struct representation r = { .etag = etag_of(st, tag), .modified = st->st_mtim.tv_sec,
				    .bytes = (uint64_t)st->st_size };
	uint64_t first = 0, n = r.bytes;
	struct reply reply = { .status = preconditions_check(ask->head, &r) };
	enum range_kind range = reply.status ? RANGE_WHOLE
					     : preconditions_range(ask->head, &r, &first, &n);

	put_description(&o, &r);
	if (range != RANGE_WHOLE)
		put_content_range(&o, first, range == RANGE_PART ? n : 0, r.bytes);
	reply.fields = (struct slice){ fields, (size_t)(o.p - fields) };
	if (reply.status == 412 || range == RANGE_OUTSIDE) {
		close(fd);
		if (range == RANGE_OUTSIDE)
			reply_error(c, 416, "The file ends before that", reply.fields);
		else
			reply_error(c, 412, "The file is another one by now", reply.fields);
		return;
	}
	if (reply.status == 0) {
		reply.status = range == RANGE_PART ? 206 : 200;
		reply.type = type_of(name);
		reply.framing = n > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
		reply.length = n;
	}
	reply_begin(c, &reply);
	c->req.file = fd;
	c->req.file_at = (off_t)first;
	c->req.file_left = c->req.no_body ? 0 : n;
	reply_end(c);
}

/* Opens name, and looks at it.  -1 with errno. */
static int open_and_stat(struct connection *c, const char *name, struct stat *ret_st)
{
	/* O_NONBLOCK: a pipe without a writer would stop us for ever. */
	int fd = open_beneath(c->server->settings->root, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0 && fstat(fd, ret_st) < 0)
		fd_close(&fd);
	return fd;
}

void files_begin(struct connection *c, const struct ask *ask)
{
	char name[PATH_BYTES];
	struct stat st;

	if (!ask_is_read(c, ask))
		return;
	uint16_t refusal = decode_path(ask->path, name);

	if (refusal) {
		reply_error(c, refusal, refusal == 404 ? "There is no such file" :
			    "The address is malformed or too long", (struct slice){ 0 });
		return;
	}
	size_t n = strlen(name);
	int fd = open_and_stat(c, n ? name : ".", &st);

	if (fd >= 0 && S_ISDIR(st.st_mode)) {
		fd_close(&fd);
		if (n > 0 && name[n - 1] != '/') {
			redirect_to_slash(c, ask);
			return;
		}
		memcpy(name + n, INDEX, sizeof(INDEX));
		fd = open_and_stat(c, name, &st);
	}
	if (fd >= 0 && !S_ISREG(st.st_mode)) {
		fd_close(&fd);
		errno = ENOENT;
	}
	if (fd < 0)
		refuse_errno(c, errno);
	else
		send_file(c, ask, fd, &st, name);
}
