/* Texts of the error codes; any process, any caller. */
#include "common/err.h"

static const char *const texts[ERR_MAX] = {
	[ERR_OK] = "success",
#define ERR(name, text) [ERR_##name] = text,
#include "common/err.def"
#undef ERR
};

const char *err_text(enum err e)
{
	if ((unsigned)e >= ERR_MAX)
		return "unknown error";
	return texts[e];
}
