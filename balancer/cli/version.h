/* What this binary is made of. */
#ifndef DROVER_CLI_VERSION_H
#define DROVER_CLI_VERSION_H

#include <stdio.h>

/* Version, compiler, libraries in use, hardening or sanitizers. */
void version_print(FILE *out);

#endif
