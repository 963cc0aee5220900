/* A request or reply head: what was on the wire, as fields in arrival order.
 *
 * Every slice borrows the buffer that was parsed; the head is valid as long as
 * those bytes are.  One head serves a whole loop as scratch: it is filled, used
 * to write the outgoing head, and forgotten.
 */
#ifndef DROVER_COMMON_HTTP_HEAD_H
#define DROVER_COMMON_HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/slice.h"

enum http_field_id {
	HTTP_F_OTHER = 0,
#define FIELD(id, name, flags, source) HTTP_F_##id,
#include "common/http_fields.def"
#undef FIELD
	HTTP_F_MAX
};

enum http_field_flags {
	HTTP_FF_HOP = 1,
	HTTP_FF_ONE = 2,
	HTTP_FF_OWN = 4,
	HTTP_FF_KEEP = 8,
};

struct http_field_info {
	struct slice name; /* lower case */
	uint8_t flags;
	const char *source;
};
extern const struct http_field_info http_field_table[HTTP_F_MAX];

#define HTTP_FIELD_NAME_MAX 19 /* longest name in http_fields.def */

/* Row of a field name, any case; HTTP_F_OTHER when the table has none. */
enum http_field_id http_field_find(struct slice name);

enum http_method {
	HTTP_M_OTHER = 0, /* any other token: passed on, taken as neither safe nor idempotent */
	HTTP_M_GET,
	HTTP_M_HEAD,
	HTTP_M_POST,
	HTTP_M_PUT,
	HTTP_M_DELETE,
	HTTP_M_OPTIONS,
	HTTP_M_PATCH,
	HTTP_M_CONNECT,
	HTTP_M_TRACE,
	HTTP_M_MAX
};

/* Row of a method name, exact case; HTTP_M_OTHER when it is none of the above. */
enum http_method http_method_find(struct slice name);

/* RFC 9110 9.2.2: may be sent twice (GET HEAD PUT DELETE OPTIONS TRACE). */
bool http_method_idempotent(enum http_method m);

enum http_framing {
	HTTP_BODY_NONE = 0, /* whatever the fields say: 1xx, 204, 304, HEAD, bodiless request */
	HTTP_BODY_LENGTH,   /* exactly `length` bytes; length > 0 */
	HTTP_BODY_CHUNKED,
	HTTP_BODY_CLOSE, /* replies only: until the connection ends */
	HTTP_BODY_MAX
};

#define HTTP_FIELDS_MAX 256 /* the most that limits.headers may allow */

struct http_field {
	struct slice name, value; /* value trimmed of OWS */
	uint8_t id;               /* enum http_field_id */
	bool drop;                /* not to be forwarded: hop-by-hop, or named by Connection */
	bool underscore;          /* the name has one */
};

struct http_head {
	/* request */
	struct slice method;
	uint8_t method_id;   /* enum http_method */
	struct slice target; /* as sent */
	struct slice path;   /* what goes to the worker: path and query in origin form, or "*" */
	struct slice host;   /* of an absolute target, else Host; on 1.0 it may be empty */
	/* reply */
	uint16_t status;
	struct slice reason;
	/* both */
	uint8_t minor;   /* HTTP/1.minor: 0 or 1 */
	uint8_t framing; /* enum http_framing */
	bool has_length; /* a Content-Length field is present (HEAD and 304 replies keep theirs) */
	uint64_t length; /* its value */
	bool keep_alive; /* the sender's side allows another message (RFC 9112 9.3) */
	uint32_t idle_s; /* reply: the sender ends an idle connection after so many seconds
			  * (Keep-Alive: timeout=N); 0: it does not say */
	bool upgrade;    /* Connection: upgrade, and an Upgrade field that names anything but
				  * another HTTP: a request may become a tunnel */
	bool expect_continue; /* Expect: 100-continue, and a body is announced */
	bool takes_trailers;  /* TE: trailers (RFC 9110 10.1.4) */
	bool names_fields;    /* Connection names fields that drover has no row for */
	uint32_t head_bytes;  /* bytes of the buffer that the head took, its empty line included */
	uint32_t n_fields;
	struct http_field fields[HTTP_FIELDS_MAX];
};

/* First field with this id, or NULL. */
const struct http_field *http_head_find(const struct http_head *h, enum http_field_id id);

/* Text of an http_framing value, for logs; "unknown" outside the enum. Never NULL. */
const char *http_framing_text(uint8_t framing);

#endif
