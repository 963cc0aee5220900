/* llhttp behind one face.  Its C sources come from the Debian package node-llhttp and
 * are compiled in strict mode, where it forgives least. */
#include <llhttp/llhttp.h>

#include "fuzz/reading.h"

enum part { IN_NAME = 0, IN_VALUE };

struct state {
	struct reading *r;
	enum reading_kind kind;
	enum part part;
};

/* Fed in one piece, so that a span comes in one piece too, or in neighbouring ones. */
static int extend(struct slice *s, const char *at, size_t n)
{
	if (s->n == 0)
		*s = (struct slice){ at, n };
	else if (s->p + s->n == at)
		s->n += n;
	else
		return HPE_USER; /* a folded line */
	return 0;
}

static struct reading *of(llhttp_t *parser)
{
	return ((struct state *)parser->data)->r;
}

static int on_method(llhttp_t *parser, const char *at, size_t n)
{
	return extend(&of(parser)->method, at, n);
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
	return extend(&of(parser)->target, at, n);
}

static int on_status(llhttp_t *parser, const char *at, size_t n)
{
	return extend(&of(parser)->reason, at, n);
}

/* The field that is being read, of the head or of the trailer section. */
static struct reading_field *current(struct reading *r)
{
	return r->head ? &r->trailers[r->n_trailers - 1] : &r->fields[r->n_fields - 1];
}

static int on_name(llhttp_t *parser, const char *at, size_t n)
{
	struct state *s = parser->data;
	size_t *count = s->r->head ? &s->r->n_trailers : &s->r->n_fields;

	if (s->part == IN_VALUE || *count == 0) {
		if (*count == READING_FIELDS_MAX)
			return HPE_USER;
		++*count;
		*current(s->r) = (struct reading_field){ 0 };
		s->part = IN_NAME;
	}
	return extend(&current(s->r)->name, at, n);
}

static int on_name_end(llhttp_t *parser)
{
	struct state *s = parser->data;

	s->part = IN_VALUE;
	return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
	return extend(&current(of(parser))->value, at, n);
}

static int on_head_end(llhttp_t *parser)
{
	struct state *s = parser->data;
	struct reading *r = s->r;
	bool bodiless =
		s->kind == READ_REPLY_TO_HEAD ||
		(s->kind == READ_REPLY && (parser->status_code < 200 || parser->status_code == 204 ||
					   parser->status_code == 304));

	/* What the return value will say, said before it is asked about the connection. */
	if (bodiless)
		parser->flags |= F_SKIPBODY;
	r->head = true;
	r->status = parser->status_code;
	r->minor = parser->http_minor;
	r->chunked = parser->flags & F_CHUNKED;
	r->has_length = parser->flags & F_CONTENT_LENGTH;
	r->length = parser->content_length;
	r->until_end = llhttp_message_needs_eof(parser);
	r->keep_alive = llhttp_should_keep_alive(parser);
	r->upgrade = parser->upgrade;
	return bodiless ? 1 : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
	fuzz_append(&of(parser)->body, at, n);
	return 0;
}

/* One message is enough. */
static int on_end(llhttp_t *parser)
{
	of(parser)->whole = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_method = on_method,
	.on_url = on_url,
	.on_status = on_status,
	.on_header_field = on_name,
	.on_header_field_complete = on_name_end,
	.on_header_value = on_value,
	.on_headers_complete = on_head_end,
	.on_body = on_body,
	.on_message_complete = on_end,
};

void reading_take(struct reading *r, const char *p, size_t n, enum reading_kind kind, bool end)
{
	struct state s = { .r = r, .kind = kind };
	llhttp_t parser;

	/* Not the fields: there are many. */
	memset(r, 0, offsetof(struct reading, fields));
	r->n_fields = r->n_trailers = 0;
	memset(&r->chunked, 0, sizeof(*r) - offsetof(struct reading, chunked));
	llhttp_init(&parser, kind == READ_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	parser.data = &s;
	llhttp_errno_t e = llhttp_execute(&parser, p, n);
	/* It leaves white space behind a value. */
	for (size_t i = 0; i < r->n_fields; i++)
		r->fields[i].value = slice_trim(r->fields[i].value);
	for (size_t i = 0; i < r->n_trailers; i++)
		r->trailers[i].value = slice_trim(r->trailers[i].value);
	if (r->whole)
		r->used = (size_t)(llhttp_get_error_pos(&parser) - p);
	if (e == HPE_OK && end) {
		e = llhttp_finish(&parser);
		r->used = n;
	}
	if (r->whole || e == HPE_OK)
		return;
	r->refused = parser.reason ? parser.reason : llhttp_errno_name(e);
	if (llhttp_get_error_pos(&parser))
		r->refused_at = (size_t)(llhttp_get_error_pos(&parser) - p);
}

void reading_fini(struct reading *r)
{
	free(r->body.p);
	r->body = (struct fuzz_bytes){ 0 };
}

bool reading_knows_method(struct slice name)
{
	static const char *const known[] = {
#define METHOD(number, id, text) #text,
		HTTP_METHOD_MAP(METHOD)
#undef METHOD
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (slice_eq(name, slice_of(known[i])))
			return true;
	return false;
}
