/* Where llhttp reads otherwise and drover is right.  Whatever is not in here is a
 * finding.  (Methods that llhttp does not know are shown to it under another name: see
 * show() in fuzz_request.c.) */
#ifndef DROVER_TESTS_FUZZ_KNOWN_H
#define DROVER_TESTS_FUZZ_KNOWN_H

#include "fuzz/reading.h"

/* Whether `r`, which is llhttp's reading of p[0..n), was refused for a known reason. */
static inline bool known_refusal(const struct reading *r, const char *p, size_t n)
{
	static const struct {
		const char *refused; /* among llhttp's words */
		char behind;         /* the byte before the one that it stopped at; 0: any */
		const char *why;
	} table[] = {
		{ "Invalid character in chunk size", ';',
		  "8.1.0 takes what follows an unquoted extension value for a chunk size; RFC 9112 "
		  "7.1.1 allows another extension there" },
		{ "Invalid character in chunk extensions quoted value", 0,
		  "8.1.0 does not know quoted pairs (RFC 9110 5.6.4)" },
		{ "Content-Length", 0,
		  "in a trailer, where it means nothing: drover drops it there "
		  "(RFC 9110 6.5.1)" },
		{ "Transfer-Encoding", 0, "the same" },
	};

	for (size_t i = 0; r->head && r->refused && i < ARRAY_LEN(table); i++) {
		if (strstr(r->refused, table[i].refused) &&
		    (!table[i].behind || (r->refused_at && r->refused_at <= n &&
					  p[r->refused_at - 1] == table[i].behind)))
			return true;
	}
	return false;
}

/* Whether llhttp may see another end of the connection or upgrade in a whole head.  It
 * obeys Proxy-Connection, which never was a field of HTTP: drover drops it (RFC 9112
 * C.2.2).  And in Connection it does not know HTAB as white space (RFC 9110 5.6.3). */
static inline bool known_connection(const struct reading *r)
{
	for (size_t i = 0; i < r->n_fields; i++) {
		const struct reading_field *f = &r->fields[i];
		if (slice_ieq(f->name, SLICE("proxy-connection")))
			return true;
		if (!slice_ieq(f->name, SLICE("connection")) || !f->value.n)
			continue;
		for (const char *p = f->value.p; *p != '\r'; p++)
			if (*p == '\t')
				return true;
	}
	return false;
}

#endif
