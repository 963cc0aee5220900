/* What each role may ask of the kernel: THE table, and the program that turns it into
 * filters.inc while drover is built.
 *
 *   filters_gen CPU [wide]  ──►  filters.inc: a BPF program per role, names of system calls
 *
 * libseccomp writes the programs here and now, so that it is in no process of drover's when
 * it runs.  CPU is meson's word for the machine that drover is built for.  `wide` adds what
 * sanitizers and coverage need for themselves: such a build tests the program, not its walls.
 *
 * Rows come from reading (each call below, in our code and in what libevent and libc do for
 * it) and from strace(1) over the system tests.  A call that is missing here stops its
 * process and is named in the error log (sandbox.c).
 *
 * Not in any row, and therefore out of reach: files by name, new programs, processes or
 * threads, other processes' memory and signals, executable memory, changing protections
 * (what was made read-only stays so), listening, shutting down a shared listening socket,
 * sockets other than streams, and options of sockets that drover does not set itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/base.h"

#define NAMES_MAX 512 /* system call numbers that get a name */

/* Balancer, probe, monitor, writer of a file; wide builds, in every role. */
enum { B = 1, P = 2, M = 4, F = 8, W = 16 };

#define NET (B | P | M) /* who has to do with sockets */
#define ALL (NET | F)
#define TESTS_MAX 2

struct row {
	unsigned roles;
	const char *call;
	struct scmp_arg_cmp tests[TESTS_MAX]; /* all must hold; rows of one call are alternatives */
	unsigned n;
};

#define CALL(roles, call)                 \
	{                                 \
		roles, call, { { 0 } }, 0 \
	}
#define IF(roles, call, a)            \
	{                             \
		roles, call, { a }, 1 \
	}
#define IF2(roles, call, a, b)           \
	{                                \
		roles, call, { a, b }, 2 \
	}
#define ARG(n, value)                      \
	{                                  \
		n, SCMP_CMP_EQ, (value), 0 \
	}
#define BITS(n, mask, value)                           \
	{                                              \
		n, SCMP_CMP_MASKED_EQ, (mask), (value) \
	}

#define NO_EXEC(n) BITS(n, PROT_EXEC, 0)
#define STREAM BITS(1, 0xff, SOCK_STREAM)

static const struct row rows[] = {
	/* The loop (libevent), and what the kernel itself repeats after SIGSTOP and SIGCONT. */
	CALL(B | M, "epoll_wait"),
	CALL(B | M, "epoll_pwait"),
	CALL(B | M, "epoll_pwait2"),
	CALL(B | M, "epoll_ctl"),
	CALL(P | F, "poll"),
	CALL(P | F, "ppoll"),
	CALL(ALL, "restart_syscall"),
	CALL(ALL, "rt_sigreturn"),
	CALL(B | M, "clock_nanosleep"), /* roster_read(), when the writer is slow */
	CALL(B | M, "nanosleep"),
	/* Where the vDSO cannot answer. */
	CALL(ALL, "clock_gettime"),
	CALL(ALL, "gettimeofday"),
	CALL(ALL, "time"),

	/* Connections. */
	CALL(B | M, "accept4"),
	CALL(NET, "recvfrom"),
	CALL(ALL, "sendto"), /* of a writer: to a log that is a socket */
	CALL(B | M, "sendmsg"),
	CALL(B | M, "recvmsg"),
	CALL(B | M | F, "read"),
	CALL(B, "pread64"), /* schedstat, in gather.c */
	CALL(B, "io_uring_enter"), /* of a ring that is restricted to send and receive: ring.c */
	CALL(ALL, "write"),
	CALL(B | M, "writev"), /* also assert() and abort() */
	CALL(M, "readv"), /* bufferevents, which ask first how much there is */
	IF(M, "ioctl", ARG(1, FIONREAD)),
	CALL(ALL, "close"),
	/* A listening socket is shared with the master and other balancers: only SHUT_WR leaves
	 * it as it is. */
	IF(B | M, "shutdown", ARG(1, SHUT_WR)),
	IF2(NET, "socket", ARG(0, AF_UNIX), STREAM),
	IF2(NET, "socket", ARG(0, AF_INET), STREAM),
	IF2(NET, "socket", ARG(0, AF_INET6), STREAM),
	CALL(NET, "connect"),
	CALL(NET, "getsockname"),
	CALL(NET, "getsockopt"),
	IF2(NET, "setsockopt", ARG(1, IPPROTO_TCP), ARG(2, TCP_NODELAY)),
	IF2(NET, "setsockopt", ARG(1, SOL_SOCKET), ARG(2, SO_LINGER)),

	/* Whether a connection from another balancer would make us wait. */
	IF(B, "fcntl", ARG(1, F_GETFL)),

	/* Logs: a new descriptor comes through the channel, and fstat() tells what it is. */
	CALL(B | M, "fstat"),
	IF(B | M, "newfstatat", ARG(3, 0x1000 /* AT_EMPTY_PATH: fstat() in glibc 2.33 to 2.38 */)),
	CALL(ALL, "getpid"),

	/* Memory; never executable. */
	CALL(ALL, "brk"),
	IF(ALL, "mmap", NO_EXEC(2)),
	IF(ALL, "mmap2", NO_EXEC(2)),
	CALL(ALL, "munmap"),
	CALL(ALL, "mremap"),
	CALL(ALL, "madvise"),
	CALL(ALL, "getrandom"), /* malloc() from glibc 2.36 on */

	/* The end: exit, assert(), abort(), stack protector, fortify.  SIGABRT alone, and what
	 * abort() does around it; from glibc 2.38 on it blocks signals. */
	CALL(ALL, "exit_group"),
	CALL(ALL, "exit"),
	CALL(ALL, "gettid"),
	CALL(ALL, "rt_sigprocmask"),
	IF(ALL, "tgkill", ARG(2, SIGABRT)),
	IF(ALL, "rt_sigaction", ARG(0, SIGABRT)),
	CALL(ALL, "futex"), /* locks of libc that nobody else holds, and still */

	/* Sanitizers: reports with symbols, leak checks from a second task that traces the
	 * first, memory of their own.  Coverage: files at the end. */
	CALL(W, "open"),
	CALL(W, "openat"),
	CALL(W, "read"),
	CALL(W, "readlink"),
	CALL(W, "readlinkat"),
	CALL(W, "getdents"),
	CALL(W, "getdents64"),
	CALL(W, "lseek"),
	CALL(W, "pread64"),
	CALL(W, "fstat"),
	CALL(W, "newfstatat"),
	CALL(W, "stat"),
	CALL(W, "access"),
	CALL(W, "faccessat"),
	CALL(W, "getcwd"),
	CALL(W, "mkdir"),
	CALL(W, "mkdirat"),
	CALL(W, "ftruncate"),
	CALL(W, "fcntl"),
	CALL(W, "ioctl"),
	CALL(W, "writev"),
	CALL(W, "mmap"),
	CALL(W, "mprotect"),
	CALL(W, "mincore"),
	CALL(W, "clone"),
	CALL(W, "clone3"),
	CALL(W, "vfork"),
	CALL(W, "fork"),
	CALL(W, "execve"),
	CALL(W, "wait4"),
	CALL(W, "waitid"),
	CALL(W, "pipe"),
	CALL(W, "pipe2"),
	CALL(W, "dup"),
	CALL(W, "dup2"),
	CALL(W, "dup3"),
	CALL(W, "close_range"),
	CALL(W, "ptrace"),
	CALL(W, "prctl"),
	CALL(W, "arch_prctl"),
	CALL(W, "kill"),
	CALL(W, "tgkill"),
	CALL(W, "getppid"),
	CALL(W, "sched_yield"),
	CALL(W, "sched_getaffinity"),
	CALL(W, "set_tid_address"),
	CALL(W, "set_robust_list"),
	CALL(W, "rseq"),
	CALL(W, "prlimit64"),
	CALL(W, "getrlimit"),
	CALL(W, "setrlimit"),
	CALL(W, "uname"),
	CALL(W, "sysinfo"),
	CALL(W, "personality"),
	CALL(W, "sigaltstack"),
	CALL(W, "rt_sigaction"),
	CALL(W, "nanosleep"),
	CALL(W, "clock_nanosleep"),
	CALL(W, "select"),
	CALL(W, "poll"),
	CALL(W, "socketpair"),
	CALL(W, "process_vm_readv"),
};

static NORETURN void fail(const char *what, int error)
{
	fprintf(stderr, "filters_gen: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static void add_row(scmp_filter_ctx ctx, const struct row *r)
{
	int number = seccomp_syscall_resolve_name(r->call);

	if (number == __NR_SCMP_ERROR)
		return; /* newer than this libseccomp, or of another architecture */
	int e = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, r->n, r->tests);
	if (e && e != -EEXIST && e != -EDOM)
		fail(r->call, e);
}

/* A call that is allowed whatever its arguments makes the rows with tests superfluous. */
static bool is_plain(const char *call, unsigned roles)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].n == 0 && (rows[i].roles & roles) && strcmp(rows[i].call, call) == 0)
			return true;
	return false;
}

static scmp_filter_ctx make_filter(uint32_t arch, unsigned roles)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int e = 0;

	if (!ctx)
		fail("seccomp_init", ENOMEM);
	if (arch != seccomp_arch_native())
		e = seccomp_arch_add(ctx, arch);
	if (!e && arch != seccomp_arch_native())
		e = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
	if (!e) /* calls by another machine's numbers (32 bits) */
		e = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!e)
		e = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
	if (e)
		fail("seccomp_attr_set", e);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if ((rows[i].roles & roles) && (rows[i].n == 0 || !is_plain(rows[i].call, roles)))
			add_row(ctx, &rows[i]);
	return ctx;
}

static void print_filter(const char *name, scmp_filter_ctx ctx)
{
	struct sock_filter op;
	FILE *f = tmpfile();

	if (!f)
		fail("tmpfile", errno);
	int e = seccomp_export_bpf(ctx, fileno(f));
	if (e)
		fail("seccomp_export_bpf", e);
	rewind(f);
	printf("static const struct sock_filter %s_filter[] = {\n", name);
	while (fread(&op, sizeof(op), 1, f) == 1)
		printf("\t{ 0x%x, %u, %u, 0x%xu },\n", op.code, op.jt, op.jf, op.k);
	printf("};\n\n");
	fclose(f);
	seccomp_release(ctx);
}

static void print_names(uint32_t arch)
{
	printf("static const char *const call_names[] = {\n");
	for (int i = 0; i < NAMES_MAX; i++) {
		char *name = seccomp_syscall_resolve_num_arch(arch, i);
		if (name)
			printf("\t[%d] = \"%s\",\n", i, name);
		free(name);
	}
	printf("};\n");
}

int main(int argc, char **argv)
{
	const char *cpu = argc > 1 ? argv[1] : "";
	unsigned wide = argc > 2 && strcmp(argv[2], "wide") == 0 ? W : 0;
	uint32_t arch = seccomp_arch_resolve_name(cpu);

	if (!arch) {
		fprintf(stderr,
			"filters_gen: libseccomp knows no machine \"%s\"; build without "
			"filters: -Dseccomp=disabled\n",
			cpu);
		return 1;
	}
	printf("/* By filters_gen for %s; do not edit. */\n", cpu);
	printf("#define FILTER_MACHINE \"%s\"\n\n", cpu);
	print_filter("balancer", make_filter(arch, B | wide));
	print_filter("probe", make_filter(arch, P | wide));
	print_filter("monitor", make_filter(arch, M | wide));
	print_filter("writer", make_filter(arch, F | wide));
	print_names(arch);
	return 0;
}
