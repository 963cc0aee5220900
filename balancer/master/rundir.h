/* The run directory: the lock that makes an instance's name unique, and the
 * place of the workers' Unix sockets. */
#ifndef DROVER_MASTER_RUNDIR_H
#define DROVER_MASTER_RUNDIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"
#include "common/proc.h"

struct logs;

struct rundir {
	char *path;      /* /run/drover, $XDG_RUNTIME_DIR/drover or /tmp/drover-UID */
	char *name;      /* of this instance */
	char *lock_path; /* PATH/NAME.lock: our pid and admin socket, under flock(2) */
	int lock_fd;     /* also held by the warden, until it has cleaned up after us */
	char *sockets;   /* PATH/wPID: made when the first worker needs it */
	char *pid_file;  /* as configured, or NULL */
};

/* Finds or makes the directory and takes the name.  ERR_CLOSED: the master that has it was
 * killed, and its warden holds it; all but lock_fd is filled.  On other failures the reason,
 * such as the pid of the instance that has the name, has been logged. */
MUST_CHECK enum err rundir_open(struct rundir *r, const struct logs *l, const char *name);

/* After ERR_CLOSED: tries once more.  `last`: the reason is logged. */
MUST_CHECK enum err rundir_try_again(struct rundir *r, const struct logs *l, bool last);

/* The pid in the lock file, without having it; 0: there is none. */
pid_t rundir_owner(const struct rundir *r);

/* PATH/NAME.adopt: the socket at which another master may take over from one that was
 * killed (adoption.h).  The caller frees it. */
MUST_CHECK char *rundir_adopt_path(const struct rundir *r);

/* Says in the lock file where our admin socket is; NULL: there is none.  ERR_SYS, logged. */
MUST_CHECK enum err rundir_write_lock(struct rundir *r, const struct logs *l,
				      const char *admin_socket);

/* How a master looks in /proc, by which one is known; its name follows. */
#define MASTER_TITLE "drover: master of "

/* Writes our pid to `path`; NULL: none is wanted.  ERR_EXISTS: it is that of another
 * master, which runs; of one that has ended it is taken over. */
MUST_CHECK enum err rundir_write_pid_file(struct rundir *r, const struct logs *l, const char *path);

/* Removes everything that was made here and gives the name back. */
void rundir_close(struct rundir *r);
/* Forgets it, and leaves everything where it is. */
void rundir_forget(struct rundir *r);

/* The path of a new worker's socket, in a directory of its app that belongs to
 * `owner` (the worker's user; unset: ours) and that `balancer` may enter.
 * ERR_RANGE: too long for a socket address. */
MUST_CHECK enum err rundir_socket_path(struct rundir *r, uint32_t app_id, uint64_t epoch,
				       const struct proc_user *owner,
				       const struct proc_user *balancer, char *buf, size_t room);

/* The path of a new worker's NOTIFY_SOCKET, in a directory where only we make files.
 * ERR_RANGE as above. */
MUST_CHECK enum err rundir_notify_path(struct rundir *r, uint64_t epoch, char *buf, size_t room);

/* Lets the balancers connect to a worker's socket.  `path` lies in a directory
 * that the worker may write: nothing is followed, nothing but a socket touched. */
MUST_CHECK enum err rundir_open_socket(const char *path);

/* After the death of a master: removes the files of workers that `known` says are not there. */
typedef bool rundir_known_f(void *arg, uint64_t epoch);
void rundir_sweep(struct rundir *r, rundir_known_f *known, void *arg);

/* Removes a directory of sockets and what is in it; also called by the warden. */
void rundir_remove_sockets(const char *path);

#endif
