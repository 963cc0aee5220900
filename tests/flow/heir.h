/* The balancer of the next generation, as the one under test sees it: connections come over a
 * channel, and it goes on with them. */
#ifndef DROVER_TESTS_HEIR_H
#define DROVER_TESTS_HEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/peer.h"

#define HEIR_PEERS 16

struct heir {
	int channel;     /* -1: there is none */
	bool refuses;    /* all that is offered */
	bool alone;      /* answers without a script: GETs with their path, all else with a reset */
	uint64_t number; /* of the record that came last */
	size_t missing;  /* bytes of it that are still to come */
	struct peer peers[HEIR_PEERS]; /* clients that it has taken, in that order, seen from its side */
	bool ends[HEIR_PEERS];         /* with what it was owed */
	size_t answered[HEIR_PEERS]; /* of peers[].in */
	unsigned n;
};

void heir_init(struct heir *h);
void heir_fini(struct heir *h);

/* Comes into being; returns the end of the channel that is the balancer's. */
int heir_open(struct heir *h);

/* Takes what has come, and lets its peers send and receive; true when something moved. */
bool heir_pump(struct heir *h);

/* It dies: what is under way stays where it is. */
void heir_die(struct heir *h);

#endif
