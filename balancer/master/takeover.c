/* Taking over, and going back; in the master, right after an exec.
 *
 *   program before            new program
 *   takeover_offer, execve ─► takeover_begin ── state read, generation serves ─► proven
 *                                │ killed by its own fault, exit(), TRIAL_S without a verdict,
 *                                ▼ or takeover_go_back()
 *   takeover_begin ◄───────── execveat(the file that ran before)
 *
 * The file that ran before is a descriptor: its path may hold something else by now, and
 * does.  Invariant: what the handlers need lies ready (`guard.now`): they allocate
 * nothing, and call only what signal-safety(7) allows. */
#include "balancer/master/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/mem.h"

#define VARIABLE "DROVER_TAKEOVER"
#define TRIAL_S 60 /* longer than the new generation may take to become ready */
#define STACK_BYTES (64 * 1024)

extern char **environ;

static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP, SIGALRM };

/* What goes along when we go back. */
struct luggage {
	int state_fd;
	int *fds;
	size_t n_fds;
};

static struct {
	bool armed;
	pid_t pid;         /* ours: children inherit this memory, and must not go anywhere */
	int exe_fd;
	char **argv, **env;
	char variable[256]; /* env[0] */
	struct luggage luggage[2];
	struct luggage *_Atomic now;
} guard;

/* ---- text without stdio ------------------------------------------------- */

static char *put_text(char *p, char *end, const char *text)
{
	while (*text && p < end)
		*p++ = *text++;
	return p;
}

static char *put_number(char *p, char *end, long n)
{
	char digits[24], *d = digits + sizeof(digits);

	*--d = '\0';
	do
		*--d = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	return put_text(p, end, d);
}

/* ---- going back --------------------------------------------------------- */

void takeover_open_for_exec(const int *fds, size_t n, bool open)
{
	for (size_t i = 0; i < n; i++)
		fcntl(fds[i], F_SETFD, open ? 0 : FD_CLOEXEC);
}

/* Signal-safe.  Returns when it fails. */
static void go_back(const char *why, long number)
{
	const struct luggage *l = guard.now;
	char *p = guard.variable, *end = p + sizeof(guard.variable) - 1;
	sigset_t set;

	p = put_text(p, end, VARIABLE "=");
	p = put_number(p, end, guard.pid);
	p = put_text(p, end, " ");
	p = put_number(p, end, l->state_fd);
	p = put_text(p, end, " back ");
	p = put_text(p, end, why);
	if (number)
		p = put_number(p, end, number);
	*p = '\0';
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		sigaddset(&set, faults[i]);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	takeover_open_for_exec(l->fds, l->n_fds, true);
	takeover_open_for_exec(&l->state_fd, 1, true);
	syscall(SYS_execveat, guard.exe_fd, "", guard.argv, guard.env, AT_EMPTY_PATH);
	takeover_open_for_exec(l->fds, l->n_fds, false);
	takeover_open_for_exec(&l->state_fd, 1, false);
}

static void on_fault(int signo)
{
	if (guard.armed && getpid() == guard.pid)
		go_back(signo == SIGALRM ? "it came to no end with its start" : "it crashed, signal ",
			signo == SIGALRM ? 0 : signo);
	/* There is no way back: what would have happened. */
	signal(signo, SIG_DFL);
	raise(signo);
}

static void on_exit_called(void)
{
	if (guard.armed && getpid() == guard.pid)
		go_back("it ended", 0);
}

static void arm(void)
{
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER };
	static char bytes[STACK_BYTES];
	stack_t stack = { .ss_sp = bytes, .ss_size = sizeof(bytes) };

	sigaltstack(&stack, NULL); /* it may be the stack that is used up */
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		sigaction(faults[i], &act, NULL);
	atexit(on_exit_called);
	alarm(TRIAL_S);
	guard.armed = true;
}

static void disarm(void)
{
	if (!guard.armed)
		return;
	guard.armed = false;
	alarm(0);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		signal(faults[i], SIG_DFL);
	fd_close(&guard.exe_fd);
}

void takeover_go_back(const char *why)
{
	if (guard.armed)
		go_back(why, 0);
}

bool takeover_on_trial(void)
{
	return guard.armed && getpid() == guard.pid;
}

static void drop_luggage(struct luggage *l)
{
	fd_close(&l->state_fd);
	mem_free(l->fds);
	*l = (struct luggage){ .state_fd = -1 };
}

void takeover_guard(int state_fd, int *fds, size_t n_fds)
{
	struct luggage fresh = { state_fd, fds, n_fds };
	struct luggage *before = guard.now;

	if (!guard.armed) {
		drop_luggage(&fresh);
		return;
	}
	struct luggage *place = before == &guard.luggage[0] ? &guard.luggage[1] : &guard.luggage[0];
	*place = fresh;
	guard.now = place;
	drop_luggage(before);
}

void takeover_proven(void)
{
	disarm();
	drop_luggage(&guard.luggage[0]);
	drop_luggage(&guard.luggage[1]);
}

/* ---- the environment ---------------------------------------------------- */

void takeover_offer(int state_fd, int exe_fd)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %d on %d", (int)getpid(), state_fd, exe_fd);
	setenv(VARIABLE, text, 1);
}

void takeover_withdraw(void)
{
	unsetenv(VARIABLE);
}

/* The environment with room in front for our variable. */
static void pack_environment(void)
{
	size_t n = 0;

	while (environ[n])
		n++;
	guard.env = mem_must_alloc((n + 2) * sizeof(char *));
	guard.env[0] = guard.variable;
	for (size_t i = 0; i < n; i++)
		guard.env[i + 1] = mem_must_dup(environ[i]);
}

struct takeover takeover_begin(char **argv)
{
	struct takeover t = { .state_fd = -1 };
	const char *text = getenv(VARIABLE);
	static char reason[192];
	int pid = 0, exe_fd = -1, at = 0;
	char word[8];

	if (!text || sscanf(text, "%d %d %7s %n", &pid, &t.state_fd, word, &at) < 3 ||
	    pid != (int)getpid()) {
		takeover_withdraw();
		t.state_fd = -1;
		return t;
	}
	if (strcmp(word, "back") == 0) {
		snprintf(reason, sizeof(reason), "%s", text + at);
		t.failed = reason;
	} else {
		exe_fd = atoi(text + at);
	}
	takeover_withdraw();
	prctl(PR_SET_NAME, program_invocation_short_name); /* executed by descriptor, it is a number */
	(void)!fd_set_cloexec(t.state_fd, true);
	guard.luggage[0] = guard.luggage[1] = (struct luggage){ .state_fd = -1 };
	guard.luggage[0].state_fd = t.state_fd;
	guard.now = &guard.luggage[0];
	if (exe_fd <= 2)
		return t;
	(void)!fd_set_cloexec(exe_fd, true);
	guard.exe_fd = exe_fd;
	guard.pid = getpid();
	guard.argv = argv;
	pack_environment();
	arm();
	return t;
}
