/* Writing down what another master would need; in the master, at the end of its turns.
 *
 * Nobody has to mark what has changed: the state is written and compared with the one
 * before.  The longer that takes, the less often it is done, so that it never costs more
 * than a twentieth of the master's time.  Only what the roster shows (a worker that came, went or changed) is
 * written at once, since a process that the state does not name cannot be taken over.
 * Marks would save little (an idle master with four workers does it eight times a second, for
 * 0.7 ms of processor time), and one that is forgotten would lose something.
 *
 * Descriptors may be closed, and their numbers used again, between this and our end: the
 * state says which files they are (state.h), and the one who takes over compares. */
#include "balancer/master/adoption.h"

#include <string.h>
#include <time.h>

#include "balancer/master/carry.h"
#include "balancer/master/core.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#define SHARE 20 /* of our time: one in so many, at the most */

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg; /* the end of this turn does it */
}

void adoption_init(struct master *m)
{
	m->adoption.state_fd = -1;
	master_event(m, &m->adoption.ev_due, -1, EV_TIMEOUT, on_due, m);
}

void adoption_forget(struct master *m)
{
	struct adoption *a = &m->adoption;

	mem_wipe(a->bytes); /* of configurations, among others */
	a->bytes = NULL;
	a->n = 0;
}

static void withdraw(struct master *m)
{
	struct adoption *a = &m->adoption;

	if (m->warden.notes)
		atomic_store(&m->warden.notes->state_fd, -1);
	fd_close(&a->state_fd);
	adoption_forget(m);
}

void adoption_fini(struct master *m)
{
	withdraw(m);
	if (m->base)
		event_del(&m->adoption.ev_due);
}

uint64_t adoption_time_ms(const struct config *cfg)
{
	/* "run-PID" is a name that nobody else will ever ask for. */
	return cfg->file || cfg->over.name ? cfg->adopt_ms : 0;
}

/* Puts it in the place of the one before. */
static void publish(struct master *m, struct state_out *out)
{
	struct adoption *a = &m->adoption;
	size_t n = out->n; /* without its end, where numbers change that mean nothing */
	int fd, before = a->state_fd;

	out->identify = true;
	enum err e = state_finish(out, &fd);
	if (e) {
		log_warn("cannot write down what another master would need: %s", err_text(e));
		return;
	}
	atomic_store(&m->warden.notes->state_fd, fd);
	a->state_fd = fd;
	fd_close(&before);
	mem_wipe(a->bytes);
	a->bytes = out->bytes;
	a->n = n;
	out->bytes = NULL;
}

static void save(struct master *m)
{
	struct adoption *a = &m->adoption;
	struct state_out out = { .bytes = NULL };

	a->version = slots_version(&m->slots);
	carry_save_for_heir(m, &out);
	if (!a->bytes || out.failed || out.n != a->n || memcmp(out.bytes, a->bytes, a->n) != 0)
		publish(m, &out);
	state_out_fini(&out);
}

/* Until it serves, and once it is to end, drover ends as a whole.  During the trial of an
 * upgrade the state of the program before holds. */
static bool may_be_adopted(const struct master *m)
{
	return adoption_time_ms(m->config->cfg) > 0 && !m->booting && m->serving &&
	       !shutdown_begun(&m->stop);
}

/* What the warden goes by besides the state.  As early as that: a number that was closed may be
 * another file's by now. */
static void note(struct master *m)
{
	struct warden_notes *notes = m->warden.notes;

	atomic_store(&notes->log_fd, log_fd());
	notes->adopt_ms = adoption_time_ms(m->config->cfg);
}

void adoption_save(struct master *m)
{
	if (!m->warden.notes)
		return;
	note(m);
	if (may_be_adopted(m))
		save(m);
}

/* Processor time: on a busy machine the clock counts others' work too. */
static uint64_t own_time_us(void)
{
	struct timespec ts = { .tv_sec = 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void adoption_turn(struct master *m)
{
	struct adoption *a = &m->adoption;

	if (!m->warden.notes || upgrade_on_trial(&m->upgrade))
		return;
	note(m);
	if (!may_be_adopted(m)) {
		withdraw(m);
		return;
	}
	uint64_t now = master_now_us();
	if (a->bytes && now < a->not_before_us && a->version == slots_version(&m->slots)) {
		if (!event_pending(&a->ev_due, EV_TIMEOUT, NULL))
			master_timer(&a->ev_due, (a->not_before_us - now) / 1000 + 1);
		return;
	}
	uint64_t before = own_time_us();
	save(m);
	a->not_before_us = now + (own_time_us() - before) * SHARE;
}
