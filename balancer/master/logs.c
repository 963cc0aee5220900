/* The log files; in the master.  Invariant: the descriptor in force is never
 * closed before its successor is. */
#include "balancer/master/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/balancer_proc.h"
#include "balancer/master/core.h"
#include "balancer/master/outlet.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define LOG_MODE 0640

void logs_complain(const struct logs *l, const char *fmt, ...)
{
	char text[2048];
	struct stat log, terminal;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_error("%s", text);
	if (!l->booting)
		return;
	bool same = log_fd() >= 0 && fstat(log_fd(), &log) == 0 &&
		    fstat(STDERR_FILENO, &terminal) == 0 && log.st_dev == terminal.st_dev &&
		    log.st_ino == terminal.st_ino;
	if (!same)
		fprintf(stderr, "drover: %s\n", text);
}

enum err logs_open_file(const struct logs *l, const char *path, const char *key, int *ret_fd)
{
	/* O_NONBLOCK: a FIFO that nobody reads must not hold us up, here or later. */
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		      LOG_MODE);

	if (fd < 0) {
		int error = errno;
		logs_complain(l, "cannot open %s (%s): %s; check that its directory exists and may "
			      "be written", path, key,
			      error == ENXIO ? "nobody reads this FIFO" : strerror(error));
		return error == EMFILE || error == ENFILE ? ERR_FD_LIMIT : ERR_SYS;
	}
	*ret_fd = fd;
	return ERR_OK;
}

/* Opens "-" (standing for `standard`), a path, or nothing. */
static enum err open_log(const struct logs *l, const char *path, int standard, const char *key,
			 int *ret_fd)
{
	*ret_fd = -1;
	if (!path)
		return ERR_OK;
	if (strcmp(path, "-") == 0) {
		if (fcntl(standard, F_GETFD) < 0)
			return ERR_OK; /* started with it closed: nobody wants to read it */
		enum err e = fd_private_nonblock(standard, ret_fd);
		if (e)
			logs_complain(l, "cannot use %s for %s: %s",
				      standard == STDOUT_FILENO ? "stdout" : "stderr", key,
				      strerror(errno));
		return e;
	}
	return logs_open_file(l, path, key, ret_fd);
}

enum err logs_open(struct logs *l, const struct config *cfg, struct logs_files *ret_files)
{
	struct logs_files files = { -1, -1 };
	enum err e = open_log(l, cfg->log_error, STDERR_FILENO, "log.error", &files.error_fd);

	if (!e)
		e = open_log(l, cfg->log_access, STDOUT_FILENO, "log.access", &files.access_fd);
	if (e) {
		logs_close_files(&files);
		return e;
	}
	*ret_files = files;
	return ERR_OK;
}

void logs_close_files(struct logs_files *files)
{
	fd_close(&files->error_fd);
	fd_close(&files->access_fd);
}

static void set_path(char **place, const char *path)
{
	char *copy = mem_must_dup(path);

	mem_free(*place);
	*place = copy;
}

void logs_commit(struct logs *l, const struct config *cfg, struct logs_files *files)
{
	log_to_fd(files->error_fd);
	log_set_level((enum log_level)cfg->log_level);
	fd_close(&l->error_fd);
	fd_close(&l->access_fd);
	l->error_fd = files->error_fd;
	l->access_fd = files->access_fd;
	*files = (struct logs_files){ -1, -1 };
	set_path(&l->error_path, cfg->log_error);
	set_path(&l->access_path, cfg->log_access);
}

void logs_fini(struct logs *l)
{
	/* What is said after this goes where it goes without any configuration. */
	if (log_fd() == l->error_fd)
		log_to_fd(STDERR_FILENO);
	fd_close(&l->error_fd);
	fd_close(&l->access_fd);
	mem_free(l->error_path);
	mem_free(l->access_path);
	l->error_path = l->access_path = NULL;
}

void logs_reopen(struct master *m)
{
	struct logs *l = &m->logs;
	int fd;

	outlets_reopen(m);
	if (!open_log(l, l->error_path, STDERR_FILENO, "log.error", &fd) && fd >= 0) {
		log_to_fd(fd);
		fd_close(&l->error_fd);
		l->error_fd = fd;
		balancers_reopen(m, LOG_KIND_ERROR);
	}
	if (!open_log(l, l->access_path, STDOUT_FILENO, "log.access", &fd) && fd >= 0) {
		fd_close(&l->access_fd);
		l->access_fd = fd;
		balancers_reopen(m, LOG_KIND_ACCESS);
	}
	log_notice("log files reopened");
}
