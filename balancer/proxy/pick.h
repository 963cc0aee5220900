/* Which worker gets a request: tables rebuilt from the roster, strict rotation. */
#ifndef DROVER_PROXY_PICK_H
#define DROVER_PROXY_PICK_H

#include "balancer/proxy/loop.h"

#define PICK_NONE UINT32_MAX
#define PICK_WARM 2048        /* answers after which a worker's code is taken to be compiled and cached */
#define PICK_COLD_STEP 64     /* answers for each further request that a cold one may have at a time */
#define PICK_COLD_US 10000000 /* the longest that a slow one is spared for want of them */
#define PICK_OLDER_US 1000000 /* how much longer others must have been there */

/* Slots that a request has already failed on, so that it goes elsewhere. */
struct pick_tried {
	uint64_t epoch[4];
	uint32_t n;
};
void pick_note_tried(struct pick_tried *t, uint64_t epoch);

MUST_CHECK enum err pick_start(struct proxy *p);
void pick_stop(struct proxy *p);

/* Slots [0, n) of the roster, at most ROSTER_SLOTS, may be spoken of from here on. */
void pick_know_slots(struct proxy *p, uint32_t n);

/* Follows the roster; closes pooled connections of workers that are not UP any
 * more.  Returns false when the roster could not be read (the master died). */
bool pick_follow_roster(struct proxy *p);

/* The next worker of `app` in rotation, as a roster slot, or PICK_NONE.  Suspects
 * and what `tried` names are passed over; with `last_resort` suspects are taken too. */
uint32_t pick_next(struct proxy *p, struct app_state *app, const struct pick_tried *tried,
		   bool last_resort);

/* A worker did not take a connection. */
void pick_suspect(struct proxy *p, uint16_t slot, uint64_t epoch);

/* A worker has answered a request: it is trusted, and a little warmer. */
void pick_answered(struct proxy *p, uint16_t slot);

/* It has said that it ends an idle connection after `idle_s` seconds, at least 1. */
void pick_note_idle(struct proxy *p, uint16_t slot, uint64_t epoch, uint32_t idle_s);

#endif
