/* Finding running instances by the lock files in the run directories: PID, and behind it the
 * path of the admin socket (written by master/rundir.c).  Who has none of his own is shown
 * root's: that he may not be allowed in is said when it is tried. */
#include "balancer/cli/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/contract.h"
#include "common/fd.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define INSTANCES_MAX 64
#define LOCK_MAX 4096

struct found {
	struct instance list[INSTANCES_MAX];
	int n;
	pid_t dead;      /* whose lock of the wanted name is still there; 0: none */
	char places[512]; /* that were looked at, for the message */
};

void instance_fini(struct instance *i)
{
	mem_free(i->socket);
	mem_free(i->lock);
	*i = (struct instance){ .pid = 0 };
}

static void forget(struct found *f)
{
	for (int i = 0; i < f->n; i++)
		instance_fini(&f->list[i]);
	f->n = 0;
}

/* A lock outlives a master that was killed, until its warden has cleaned up; its pid may be
 * somebody else's by then. */
static bool is_master(pid_t pid)
{
	static const char title[] = "drover: master of ";
	char path[64], line[sizeof(title)] = "";

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;
	fd_close(&fd);
	if (n > 0)
		return strcmp(line, title) == 0;
	/* /proc may hide what belongs to others. */
	return n < 0 && kill(pid, 0) != 0 && errno == EPERM;
}

/* Reads `path`; true when it names a pid: then *ret_socket is the caller's. */
static bool read_lock(const char *path, pid_t *ret_pid, char **ret_socket)
{
	char text[LOCK_MAX];
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	char *line;

	fd_close(&fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	long pid = strtol(text, &line, 10);
	if (pid <= 1 || pid > INT32_MAX || *line != '\n')
		return false;
	line++;
	line[strcspn(line, "\n")] = '\0';
	*ret_pid = (pid_t)pid;
	*ret_socket = mem_must_dup(line);
	return true;
}

static void look_at(struct found *f, const char *place, const char *file, const char *wanted)
{
	const char *dot = strrchr(file, '.');
	struct instance one = { .pid = 0 };

	if (!dot || strcmp(dot, ".lock") != 0 || dot == file || dot - file >= (int)sizeof(one.name) ||
	    f->n == INSTANCES_MAX)
		return;
	snprintf(one.name, sizeof(one.name), "%.*s", (int)(dot - file), file);
	if (wanted && strcmp(one.name, wanted) != 0)
		return;
	one.lock = mem_must_printf("%s/%s", place, file);
	if (read_lock(one.lock, &one.pid, &one.socket) && is_master(one.pid)) {
		f->list[f->n++] = one;
		return;
	}
	f->dead = one.pid;
	instance_fini(&one);
}

static void look_in(struct found *f, const char *place, const char *wanted)
{
	DIR *dir = opendir(place);
	size_t used = strlen(f->places);
	struct dirent *entry;

	snprintf(f->places + used, sizeof(f->places) - used, "%s%s", used ? ", " : "", place);
	while (dir && (entry = readdir(dir)))
		look_at(f, place, entry->d_name, wanted);
	if (dir)
		closedir(dir);
}

static void look(struct found *f, const char *wanted)
{
	uid_t users[] = { geteuid(), 0 };
	char *place;

	f->places[0] = '\0';
	f->dead = 0;
	for (size_t u = 0; u < ARRAY_LEN(users) && f->n == 0; u++) {
		if (u > 0 && users[u] == users[0])
			break;
		for (unsigned i = 0; (place = run_dir_place(users[u], i)); i++) {
			look_in(f, place, wanted);
			mem_free(place);
		}
	}
}

static const char *names(const struct found *f, char buf[static 1024])
{
	size_t n = 0;

	buf[0] = '\0';
	for (int i = 0; i < f->n && n < 900; i++)
		n += (size_t)snprintf(buf + n, 1024 - n, "%s%s", i ? ", " : "", f->list[i].name);
	return buf;
}

static int none(struct found *f, const char *wanted)
{
	char buf[1024];

	if (!wanted) {
		cli_complain("no drover is running (looked in %s); start one with drover run",
			     f->places);
		return EXIT_FAILED;
	}
	if (f->dead) {
		cli_complain("instance %s (pid %d) has ended; drover run starts it again", wanted,
			     (int)f->dead);
		return EXIT_FAILED;
	}
	look(f, NULL);
	if (f->n)
		cli_complain("no instance named %s is running; running: %s", wanted, names(f, buf));
	else
		cli_complain("no instance named %s is running, nor any other (looked in %s)", wanted,
			     f->places);
	forget(f);
	return EXIT_FAILED;
}

/* -1: *ret_name, the caller's, is the name that is asked for, or NULL; else the exit status. */
static int wanted_name(const struct args *a, char **ret_name)
{
	struct args copy = *a;
	int status;

	*ret_name = mem_must_dup(a->over.name);
	if (a->over.name || !a->config_file)
		return -1;
	struct config *cfg = cli_load(&copy, &status);
	if (!cfg) {
		cli_complain("so it is not known which instance is meant; name it with --name");
		return status;
	}
	*ret_name = mem_must_dup(cfg->name);
	config_free(cfg);
	return -1;
}

int instance_find(const struct args *a, struct instance *ret_instance)
{
	struct found f = { .n = 0 };
	char buf[1024], *wanted;
	int status = wanted_name(a, &wanted);

	if (status >= 0)
		return status;
	look(&f, wanted);
	if (f.n == 0) {
		status = none(&f, wanted);
	} else if (f.n > 1) {
		cli_complain("several instances are running: %s; name one with --name", names(&f, buf));
		status = EXIT_FAILED;
	} else if (f.list[0].socket[0] == '\0') {
		cli_complain("instance %s (pid %d) has no admin socket: admin.socket is off, or it could "
			     "not be made, which its log tells", f.list[0].name, (int)f.list[0].pid);
		status = EXIT_FAILED;
	} else {
		*ret_instance = f.list[0];
		f.n = 0;
	}
	forget(&f);
	mem_free(wanted);
	return status;
}
