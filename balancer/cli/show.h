/* The status of an instance as a person reads it. */
#ifndef DROVER_CLI_SHOW_H
#define DROVER_CLI_SHOW_H

#include <jansson.h>
#include <stdio.h>

/* `status`: what GET /api/v1/status gives.  What is missing in it is left out. */
void show_status(const json_t *status, FILE *out);

#endif
