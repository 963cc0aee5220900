/* What run-time functions return.  Rows live in err.def. */
#ifndef DROVER_COMMON_ERR_H
#define DROVER_COMMON_ERR_H

enum err {
	ERR_OK = 0,
#define ERR(name, text) ERR_##name,
#include "common/err.def"
#undef ERR
	ERR_MAX
};

/* The row's text; "unknown error" for a value outside the table. Never NULL. */
const char *err_text(enum err e);

#endif
