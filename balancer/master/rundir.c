/* The run directory; in the master, and for the clean-up in the warden.
 *
 *   /run/drover/NAME.lock         "PID\nSOCKET\nSOCKETS\n", held with flock(2); SOCKET: of the
 *                                 admin channel, by which commands find it, or an empty line;
 *                                 SOCKETS: wPID, where it is that of a master before
 *   /run/drover/NAME.adopt        while there is no master: see adoption.h
 *   /run/drover/NAME.sock         the admin socket, where the configuration names no other
 *   /run/drover/wPID/APP/N.sock   a worker's socket; the directory APP belongs to its user
 *   /run/drover/wPID/notify/N     its NOTIFY_SOCKET, which belongs to its user
 */
#include "balancer/master/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "balancer/master/logs.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/run_dir.h"

/* ---- finding a directory ------------------------------------------------ */

/* Makes `path` unless it is there; whether it is ours, a directory and no link,
 * and closed to writers other than us. */
static bool own_directory(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) != 0 && errno != EEXIST)
		return false;
	if (lstat(path, &st) != 0)
		return false;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
		errno = EPERM;
		return false;
	}
	return access(path, W_OK | X_OK) == 0;
}

static char *find_directory(const struct logs *l)
{
	char *path = NULL, *next;

	for (unsigned i = 0; (next = run_dir_place(geteuid(), i)); i++) {
		mem_free(path);
		path = next;
		if (own_directory(path, geteuid() == 0 ? 0755 : 0700))
			return path;
	}
	logs_complain(l, "cannot use %s as run directory: %s; remove it, or set XDG_RUNTIME_DIR",
		      path, errno == EPERM ? "it is not a directory that only we may write"
					   : strerror(errno));
	mem_free(path);
	return NULL;
}

/* ---- the name ----------------------------------------------------------- */

static pid_t read_pid(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	long pid = strtol(text, NULL, 10);
	return pid > 0 && pid < INT32_MAX ? (pid_t)pid : 0;
}

/* Whether `pid` is a master that lives, of this name (NULL: of any).  A number in a file may be
 * somebody else's by now. */
static bool is_master(pid_t pid, const char *name)
{
	char path[64], line[128] = "", title[128];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof(line) - 1) : -1;
	fd_close(&fd);
	if (n <= 0 || strncmp(line, MASTER_TITLE, strlen(MASTER_TITLE)) != 0)
		return false;
	snprintf(title, sizeof(title), MASTER_TITLE "%s", name ? name : "");
	return !name || strncmp(line, title, strlen(line)) == 0; /* the room for it may be short */
}

static void complain_taken(const struct rundir *r, const struct logs *l, pid_t holder)
{
	if (!is_master(holder, r->name))
		logs_complain(l, "instance \"%s\" (pid %d) has ended, but its last connections are "
			      "still being finished; try again in a few seconds", r->name,
			      (int)holder);
	else
		logs_complain(l, "an instance named \"%s\" is already running (pid %d); stop it, "
			      "or give this one another name with --name", r->name, (int)holder);
}

/* One try: ERR_AGAIN when the file was removed between opening and locking, ERR_CLOSED when
 * it is locked for a master that has ended. */
static enum err try_lock(struct rundir *r, const struct logs *l)
{
	struct stat ours, there;
	int fd = open(r->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0) {
		logs_complain(l, "cannot open %s: %s", r->lock_path, strerror(errno));
		return ERR_SYS;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		enum err e = ERR_EXISTS;
		if (errno != EWOULDBLOCK)
			logs_complain(l, "cannot lock %s: %s", r->lock_path, strerror(errno));
		else if (is_master(read_pid(fd), r->name))
			complain_taken(r, l, read_pid(fd));
		else
			e = ERR_CLOSED;
		fd_close(&fd);
		return e;
	}
	if (fstat(fd, &ours) != 0 || stat(r->lock_path, &there) != 0 ||
	    ours.st_ino != there.st_ino || ours.st_dev != there.st_dev) {
		fd_close(&fd);
		return ERR_AGAIN;
	}
	r->lock_fd = fd;
	return ERR_OK;
}

pid_t rundir_owner(const struct rundir *r)
{
	int fd = open(r->lock_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	pid_t pid = fd >= 0 ? read_pid(fd) : 0;

	fd_close(&fd);
	return pid;
}

char *rundir_adopt_path(const struct rundir *r)
{
	return mem_must_printf("%s/%s.adopt", r->path, r->name);
}

/* The directory of sockets that the lock file names, or that the name of its writer gives. */
static char *sockets_of(const struct rundir *r, pid_t pid)
{
	char text[1024];
	ssize_t n = pread(r->lock_fd, text, sizeof(text) - 1, 0);
	size_t prefix = strlen(r->path);

	text[MAX(n, 0)] = '\0';
	char *line = strchr(text, '\n');
	line = line ? strchr(line + 1, '\n') : NULL;
	if (line && *++line)
		line[strcspn(line, "\n")] = '\0';
	if (line && strncmp(line, r->path, prefix) == 0 && strncmp(line + prefix, "/w", 2) == 0 &&
	    !strchr(line + prefix + 1, '/'))
		return mem_must_dup(line);
	return mem_must_printf("%s/w%d", r->path, (int)pid);
}

/* Whoever held the name before us may have died with its warden. */
static void clean_up_after(const struct rundir *r, pid_t before)
{
	char *adopt = rundir_adopt_path(r);

	unlink(adopt);
	mem_free(adopt);
	if (before <= 0 || before == getpid())
		return;
	char *path = sockets_of(r, before);
	rundir_remove_sockets(path);
	mem_free(path);
}

static enum err take_name(struct rundir *r, const struct logs *l)
{
	enum err e = ERR_AGAIN;

	while (e == ERR_AGAIN)
		e = try_lock(r, l);
	if (e)
		return e;
	clean_up_after(r, read_pid(r->lock_fd));
	return rundir_write_lock(r, l, NULL);
}

enum err rundir_open(struct rundir *r, const struct logs *l, const char *name)
{
	*r = (struct rundir){ .lock_fd = -1 };
	r->path = find_directory(l);
	if (!r->path)
		return ERR_SYS;
	r->name = mem_must_dup(name);
	r->lock_path = mem_must_printf("%s/%s.lock", r->path, name);
	return take_name(r, l);
}

enum err rundir_try_again(struct rundir *r, const struct logs *l, bool last)
{
	enum err e = take_name(r, l);

	if (e == ERR_CLOSED && last) {
		complain_taken(r, l, rundir_owner(r));
		return ERR_EXISTS;
	}
	return e;
}

enum err rundir_write_lock(struct rundir *r, const struct logs *l, const char *admin_socket)
{
	char *text = mem_must_printf("%d\n%s\n%s\n", (int)getpid(), admin_socket ? admin_socket : "",
				     r->sockets ? r->sockets : "");
	size_t n = strlen(text);
	/* In one piece: a reader never finds half of it, and a rest of before is behind it. */
	bool ok = pwrite(r->lock_fd, text, n, 0) == (ssize_t)n && ftruncate(r->lock_fd, (off_t)n) == 0;

	if (!ok)
		logs_complain(l, "cannot write %s: %s", r->lock_path, strerror(errno));
	mem_free(text);
	return ok ? ERR_OK : ERR_SYS;
}

/* The master, other than us, that `path` names, and that runs; 0: there is none. */
static pid_t live_owner(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	pid_t pid = fd >= 0 ? read_pid(fd) : 0;

	fd_close(&fd);
	return pid > 0 && pid != getpid() && is_master(pid, NULL) ? pid : 0;
}

enum err rundir_write_pid_file(struct rundir *r, const struct logs *l, const char *path)
{
	if (!path)
		return ERR_OK;
	pid_t owner = live_owner(path);
	if (owner) {
		logs_complain(l, "pid_file %s belongs to another drover (pid %d); give this one its "
			      "own", path, (int)owner);
		return ERR_EXISTS;
	}
	/* A new file by rename: readers never see half a number, and a link that
	 * somebody put there is replaced, not followed. */
	char *fresh = mem_must_printf("%s.%d", path, (int)getpid());
	int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	bool ok = fd >= 0 && dprintf(fd, "%d\n", (int)getpid()) > 0 && rename(fresh, path) == 0;
	if (!ok) {
		logs_complain(l, "cannot write pid_file %s: %s; check that its directory exists "
			      "and may be written", path, strerror(errno));
		if (fd >= 0)
			unlink(fresh);
	}
	fd_close(&fd);
	mem_free(fresh);
	if (ok && path != r->pid_file) /* else of the master that was taken over from */
		r->pid_file = mem_must_dup(path);
	return ok ? ERR_OK : ERR_SYS;
}

void rundir_close(struct rundir *r)
{
	if (r->pid_file)
		unlink(r->pid_file);
	if (r->sockets)
		rundir_remove_sockets(r->sockets);
	if (r->lock_fd >= 0) {
		char *adopt = rundir_adopt_path(r); /* one that a warden did not come to remove */
		unlink(adopt);
		mem_free(adopt);
		/* While we hold it: a successor that had opened it finds out. */
		unlink(r->lock_path);
		fd_close(&r->lock_fd);
	}
	rundir_forget(r);
}

void rundir_forget(struct rundir *r)
{
	fd_close(&r->lock_fd);
	mem_free(r->path);
	mem_free(r->name);
	mem_free(r->lock_path);
	mem_free(r->sockets);
	mem_free(r->pid_file);
	*r = (struct rundir){ .lock_fd = -1 };
}

/* ---- the workers' sockets ----------------------------------------------- */

/* A directory of `owner`, which the group of `balancer` may pass through. */
static enum err socket_directory(const char *path, const struct proc_user *owner,
				 const struct proc_user *balancer)
{
	uid_t uid = owner->set ? owner->uid : geteuid();
	gid_t gid = balancer->set ? balancer->gid : getegid();

	if (mkdir(path, 0700) != 0) {
		if (errno != EEXIST)
			return ERR_SYS;
	}
	if (geteuid() != 0)
		return ERR_OK;
	if (lchown(path, uid, gid) != 0 || chmod(path, 0710) != 0)
		return ERR_SYS;
	return ERR_OK;
}

static enum err make_sockets(struct rundir *r)
{
	if (!r->sockets)
		r->sockets = mem_must_printf("%s/w%d", r->path, (int)getpid());
	return mkdir(r->sockets, 0711) != 0 && errno != EEXIST ? ERR_SYS : ERR_OK;
}

enum err rundir_socket_path(struct rundir *r, uint32_t app_id, uint64_t epoch,
			    const struct proc_user *owner, const struct proc_user *balancer,
			    char *buf, size_t room)
{
	enum err e = make_sockets(r);

	if (e)
		return e;
	int n = snprintf(buf, room, "%s/%u", r->sockets, app_id);
	if (n < 0 || (size_t)n >= room)
		return ERR_RANGE;
	e = socket_directory(buf, owner, balancer);
	if (e)
		return e;
	int more = snprintf(buf + n, room - (size_t)n, "/%llu.sock", (unsigned long long)epoch);
	return more < 0 || (size_t)more >= room - (size_t)n ? ERR_RANGE : ERR_OK;
}

enum err rundir_notify_path(struct rundir *r, uint64_t epoch, char *buf, size_t room)
{
	enum err e = make_sockets(r);

	if (e)
		return e;
	int n = snprintf(buf, room, "%s/notify", r->sockets);
	if (n < 0 || (size_t)n >= room)
		return ERR_RANGE;
	if (mkdir(buf, 0711) != 0 && errno != EEXIST)
		return ERR_SYS;
	int more = snprintf(buf + n, room - (size_t)n, "/%llu", (unsigned long long)epoch);
	return more < 0 || (size_t)more >= room - (size_t)n ? ERR_RANGE : ERR_OK;
}

enum err rundir_open_socket(const char *path)
{
	char by_fd[64];
	struct stat st;
	enum err e = ERR_OK;

	if (geteuid() != 0)
		return ERR_OK; /* balancers and workers are the same user */
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return ERR_SYS;
	snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) != 0) {
		e = ERR_SYS;
	} else if (!S_ISSOCK(st.st_mode)) {
		errno = ENOTSOCK;
		e = ERR_SYS;
	} else if (chmod(by_fd, 0666) != 0) { /* the directory keeps strangers out */
		e = ERR_SYS;
	}
	fd_close(&fd);
	return e;
}

static void remove_entries(int dir_fd, bool directories)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *entry;

	if (!dir) {
		fd_close(&dir_fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (directories) {
			int sub = openat(dirfd(dir), entry->d_name,
					 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub >= 0)
				remove_entries(sub, false);
		}
		unlinkat(dirfd(dir), entry->d_name, directories ? AT_REMOVEDIR : 0);
	}
	closedir(dir);
}

void rundir_remove_sockets(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return;
	remove_entries(fd, true);
	rmdir(path);
}

/* Names are numbers, with or without .sock; anything else is the worker's own affair. */
static void sweep_directory(int parent, const char *name, rundir_known_f *known, void *arg)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		fd_close(&fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		char *end;
		uint64_t epoch = strtoull(entry->d_name, &end, 10);
		if (end == entry->d_name || (*end != '\0' && strcmp(end, ".sock") != 0))
			continue;
		if (!known(arg, epoch))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
}

void rundir_sweep(struct rundir *r, rundir_known_f *known, void *arg)
{
	DIR *dir = r->sockets ? opendir(r->sockets) : NULL;
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			sweep_directory(dirfd(dir), entry->d_name, known, arg);
	closedir(dir);
}
