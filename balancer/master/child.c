/* The first and last steps of forked children that serve; in the child.  See child.h. */
#include "balancer/master/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "balancer/master/core.h"
#include "common/contract.h"
#include "common/fd.h"
#include "common/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define CHECK_LEAKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHECK_LEAKS 1
#endif
#endif
#ifdef CHECK_LEAKS
#include <sanitizer/lsan_interface.h>
#endif

void child_obeys_its_channel(void)
{
	static const int deaf_to[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2,
				       SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP, SIGWINCH };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_LEN(deaf_to); i++)
		signal(deaf_to[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

const struct roster *child_take_board(struct master *m, uint32_t row)
{
	const struct roster *roster;
	enum err e = roster_map(m->slots.fd, &roster);

	if (e)
		die(EXIT_FAILED, "cannot map the roster: %s", err_text(e));
	if (tally_shed(m->tally, m->tally_fd, row))
		die(EXIT_FAILED, "cannot map the tally: %s", strerror(errno));
	master_shed_shared(false);
	return roster;
}

void child_stdin_from_null(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (fd > 0) {
		dup2(fd, STDIN_FILENO);
		fd_close(&fd);
	}
}

static struct sandbox sandbox;

void child_enter_sandbox(enum sandbox_role role, const struct proc_user *user,
			 const struct config *cfg)
{
	const char *stage;

	sandbox = (struct sandbox){
		.role = role,
		.user = user,
		.off = cfg->sandbox == CFG_SANDBOX_OFF,
		.required = cfg->sandbox == CFG_SANDBOX_REQUIRED,
	};
	if (sandbox_enter(&sandbox, &stage) == ERR_OK)
		return;
	log_error("cannot %s (user %s): %s", stage, user->set ? user->name : "unchanged",
		  strerror(errno));
	child_leave(EXIT_FAILED);
}

void child_seal(void)
{
	if (sandbox_seal(&sandbox) == ERR_OK)
		return;
	log_error("cannot filter system calls: %s", strerror(errno));
	child_leave(EXIT_FAILED);
}

/* Not exit(): whatever was registered with atexit() belongs to the master. */
void child_leave(int status)
{
	fflush(NULL);
#ifdef CHECK_LEAKS
	__lsan_do_leak_check();
#endif
	_exit(status);
}
