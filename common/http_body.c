/* Bodies in: takes the framing off.  Runs in balancers (both directions) and in
 * the worker.  Works on whatever pieces arrive, down to single bytes, and keeps
 * nothing of them; payload is handed on as runs of the caller's own buffer.
 *
 * Chunked (RFC 9112 7.1), by state:
 *
 *   SIZE -> EXT ... -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                         \ size 0
 *                          LINE -> NAME -> VALUE -> LINE_LF -> LINE ...
 *                             \ CR
 *                              LAST_LF -> the end
 *
 *   EXT -> EXT_NAME -> EXT_VALUE -> EXT_TOKEN                  ";" from here: EXT again
 *                              \-> EXT_QUOTED <-> EXT_PAIR, then EXT_END
 *
 * What bounds the framing: 16 digits and 256 bytes of extension per chunk; and
 * over the whole body 16 KiB plus 16 bytes for each byte of payload.  A sender of
 * 1-byte chunks needs 5 ("1", CRLF, CRLF), with sizes padded to eight digits 12,
 * so only one who pads every tiny chunk with extensions meets the rule. */
#include "common/http_body.h"

enum state {
	ST_SIZE = 0,
	ST_EXT,       /* behind ";" */
	ST_EXT_NAME,
	ST_EXT_VALUE, /* behind "=" */
	ST_EXT_TOKEN,
	ST_EXT_QUOTED,
	ST_EXT_PAIR,  /* behind a backslash in quotes */
	ST_EXT_END,   /* behind the closing quote */
	ST_SIZE_LF,
	ST_DATA_CR,
	ST_DATA_LF,
	ST_LAST_LF,
	ST_DATA, /* from here on bytes come in runs */
	ST_LINE,
	ST_NAME,
	ST_VALUE,
	ST_LINE_LF,
};

#define SIZE_DIGITS_MAX 16
#define EXTENSION_BYTES_MAX 256
#define OVERHEAD_FREE (16u * 1024)
#define OVERHEAD_PER_BYTE 16
#define TRAILER_BYTES_MAX (8u * 1024)
#define TRAILER_LINES_MAX 64

void http_body_init(struct http_body *b, enum http_framing framing, uint64_t length, uint64_t limit)
{
	*b = (struct http_body){
		.framing = (uint8_t)framing,
		.state = ST_SIZE,
		.ended = framing == HTTP_BODY_NONE || (framing == HTTP_BODY_LENGTH && length == 0),
		.left = framing == HTTP_BODY_LENGTH ? length : 0,
		.limit = limit,
	};
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte that the framing has no place for: `otherwise`, or the more telling rule. */
static enum http_rule bad_byte(char c, enum http_rule otherwise)
{
	return c == '\n' ? HTTP_RULE_BARE_LF : otherwise;
}

static enum http_rule size_digit(struct http_body *b, char c)
{
	int digit = hex_value(c);

	if (digit >= 0) {
		if (++b->digits > SIZE_DIGITS_MAX || b->left > (uint64_t)INT64_MAX >> 4)
			return HTTP_RULE_CHUNK_SIZE;
		b->left = b->left << 4 | (unsigned)digit;
		return HTTP_RULE_NONE;
	}
	if (b->digits == 0)
		return bad_byte(c, HTTP_RULE_CHUNK_SIZE);
	b->line_bytes = 0;
	if (c == '\r')
		b->state = ST_SIZE_LF;
	else if (c == ';')
		b->state = ST_EXT;
	else
		return bad_byte(c, HTTP_RULE_CHUNK_SIZE);
	return HTTP_RULE_NONE;
}

/* Behind a name or a value. */
static enum http_rule extension_end(struct http_body *b, char c)
{
	if (c == ';')
		b->state = ST_EXT;
	else if (c == '\r')
		b->state = ST_SIZE_LF;
	else
		return bad_byte(c, HTTP_RULE_CHUNK_EXTENSION);
	return HTTP_RULE_NONE;
}

/* RFC 9112 7.1.1: names and values are tokens, values quoted strings too.  Nobody is
 * known to send the "bad" white space that the grammar tolerates around them, and
 * recipients differ on it (llhttp refuses, others skip): refused.  What an extension
 * says is dropped. */
static enum http_rule extension_byte(struct http_body *b, char c)
{
	uint8_t class = http_byte_class[(uint8_t)c];

	if (++b->line_bytes > EXTENSION_BYTES_MAX)
		return HTTP_RULE_CHUNK_EXTENSION;
	switch (b->state) {
	case ST_EXT:
		b->state = ST_EXT_NAME;
		return class & HTTP_B_NAME ? HTTP_RULE_NONE : bad_byte(c, HTTP_RULE_CHUNK_EXTENSION);
	case ST_EXT_NAME:
		if (c == '=')
			b->state = ST_EXT_VALUE;
		else if (!(class & HTTP_B_NAME))
			return extension_end(b, c);
		return HTTP_RULE_NONE;
	case ST_EXT_VALUE:
		b->state = c == '"' ? ST_EXT_QUOTED : ST_EXT_TOKEN;
		return c == '"' || class & HTTP_B_NAME ? HTTP_RULE_NONE
						       : bad_byte(c, HTTP_RULE_CHUNK_EXTENSION);
	case ST_EXT_TOKEN: return class & HTTP_B_NAME ? HTTP_RULE_NONE : extension_end(b, c);
	case ST_EXT_QUOTED:
		if (c == '"')
			b->state = ST_EXT_END;
		else if (c == '\\')
			b->state = ST_EXT_PAIR;
		return class & HTTP_B_VALUE ? HTTP_RULE_NONE : bad_byte(c, HTTP_RULE_CHUNK_EXTENSION);
	case ST_EXT_PAIR:
		b->state = ST_EXT_QUOTED;
		return class & HTTP_B_VALUE ? HTTP_RULE_NONE : bad_byte(c, HTTP_RULE_CHUNK_EXTENSION);
	default: return extension_end(b, c); /* ST_EXT_END */
	}
}

/* The line before a chunk is complete. */
static enum http_rule size_end(struct http_body *b, char c)
{
	if (c != '\n')
		return HTTP_RULE_BARE_CR;
	if (b->frame_bytes > OVERHEAD_FREE &&
	    (b->frame_bytes - OVERHEAD_FREE) / OVERHEAD_PER_BYTE > b->data_bytes)
		return HTTP_RULE_CHUNK_OVERHEAD;
	b->digits = 0;
	b->line_bytes = 0;
	if (b->left == 0) {
		b->state = ST_LINE;
		return HTTP_RULE_NONE;
	}
	b->state = ST_DATA;
	if (b->limit && b->left > b->limit - b->data_bytes)
		return HTTP_RULE_BODY_TOO_LARGE;
	return HTTP_RULE_NONE;
}

/* RFC 9112 7.1.2: field lines, checked like those of a head; line_bytes counts the
 * section and digits its lines. */
static enum http_rule trailer_byte(struct http_body *b, char c)
{
	if (++b->line_bytes > TRAILER_BYTES_MAX)
		return HTTP_RULE_TRAILER;
	switch (b->state) {
	case ST_LINE:
		if (c == '\r') {
			b->state = ST_LAST_LF;
			return HTTP_RULE_NONE;
		}
		if (!(http_byte_class[(uint8_t)c] & HTTP_B_NAME) || ++b->digits > TRAILER_LINES_MAX)
			return bad_byte(c, HTTP_RULE_TRAILER);
		b->state = ST_NAME;
		return HTTP_RULE_NONE;
	case ST_NAME:
		if (c == ':')
			b->state = ST_VALUE;
		else if (!(http_byte_class[(uint8_t)c] & HTTP_B_NAME))
			return bad_byte(c, HTTP_RULE_TRAILER);
		return HTTP_RULE_NONE;
	case ST_VALUE:
		if (c == '\r')
			b->state = ST_LINE_LF;
		else if (!(http_byte_class[(uint8_t)c] & HTTP_B_VALUE))
			return bad_byte(c, HTTP_RULE_TRAILER);
		return HTTP_RULE_NONE;
	default: /* ST_LINE_LF */
		b->state = ST_LINE;
		return c == '\n' ? HTTP_RULE_NONE : HTTP_RULE_BARE_CR;
	}
}

/* One byte of framing; never called in ST_DATA and the states behind it. */
static enum http_rule frame_byte(struct http_body *b, char c)
{
	b->frame_bytes++;
	switch (b->state) {
	case ST_SIZE: return size_digit(b, c);
	case ST_EXT:
	case ST_EXT_NAME:
	case ST_EXT_VALUE:
	case ST_EXT_TOKEN:
	case ST_EXT_QUOTED:
	case ST_EXT_PAIR:
	case ST_EXT_END: return extension_byte(b, c);
	case ST_SIZE_LF: return size_end(b, c);
	case ST_DATA_CR:
		b->state = ST_DATA_LF;
		return c == '\r' ? HTTP_RULE_NONE : HTTP_RULE_CHUNK_END;
	case ST_DATA_LF:
		b->state = ST_SIZE;
		return c == '\n' ? HTTP_RULE_NONE : HTTP_RULE_CHUNK_END;
	default: /* ST_LAST_LF */
		b->ended = c == '\n';
		return c == '\n' ? HTTP_RULE_NONE : HTTP_RULE_BARE_CR;
	}
}

/* Up to `left` bytes at p[at..n) are payload. */
static enum http_body_step payload(struct http_body *b, const char *p, size_t at, size_t n,
				   size_t *ret_used, struct slice *ret_data)
{
	size_t take = (size_t)MIN((uint64_t)(n - at), b->left);

	b->left -= take;
	b->data_bytes += take;
	*ret_data = (struct slice){ p + at, take };
	*ret_used = at + take;
	return HTTP_BODY_DATA;
}

/* The lines of the trailer section at p[*at..n); the empty line at its end is not among
 * them.  MORE: nothing to give. */
static enum http_body_step trailers(struct http_body *b, const char *p, size_t *at, size_t n,
				    struct slice *ret_data, enum http_rule *ret_rule)
{
	size_t begin = *at, i = begin;

	for (; i < n && b->state != ST_LAST_LF; i++) {
		b->frame_bytes++;
		enum http_rule rule = trailer_byte(b, p[i]);
		if (rule != HTTP_RULE_NONE) {
			*at = i;
			*ret_rule = rule;
			return HTTP_BODY_BAD;
		}
	}
	size_t end = b->state == ST_LAST_LF ? i - 1 : i;
	*at = i;
	if (end == begin || !b->give_trailers)
		return HTTP_BODY_MORE;
	*ret_data = (struct slice){ p + begin, end - begin };
	return HTTP_BODY_TRAILERS;
}

static enum http_body_step read_chunked(struct http_body *b, const char *p, size_t n,
					size_t *ret_used, struct slice *ret_data,
					enum http_rule *ret_rule)
{
	enum http_body_step step;

	for (size_t i = 0; i < n; i++) {
		if (b->state == ST_DATA) {
			step = payload(b, p, i, n, ret_used, ret_data);
			if (b->left == 0)
				b->state = ST_DATA_CR;
			return step;
		}
		if (UNLIKELY(b->state > ST_DATA)) {
			step = trailers(b, p, &i, n, ret_data, ret_rule);
			*ret_used = i;
			if (step != HTTP_BODY_MORE || i == n)
				return step;
		}
		enum http_rule rule = frame_byte(b, p[i]);
		if (UNLIKELY(rule != HTTP_RULE_NONE)) {
			*ret_used = i;
			*ret_rule = rule;
			return HTTP_BODY_BAD;
		}
		if (b->ended) {
			*ret_used = i + 1;
			return HTTP_BODY_END;
		}
	}
	*ret_used = n;
	return HTTP_BODY_MORE;
}

enum http_body_step http_body_read(struct http_body *b, const char *p, size_t n, size_t *ret_used,
				   struct slice *ret_data, enum http_rule *ret_rule)
{
	enum http_body_step step;

	*ret_used = 0;
	if (b->ended)
		return HTTP_BODY_END;
	if (b->framing == HTTP_BODY_CHUNKED)
		return read_chunked(b, p, n, ret_used, ret_data, ret_rule);
	if (n == 0)
		return HTTP_BODY_MORE;
	if (b->framing == HTTP_BODY_CLOSE)
		b->left = UINT64_MAX;
	step = payload(b, p, 0, n, ret_used, ret_data);
	if (b->limit && b->data_bytes > b->limit) {
		*ret_rule = HTTP_RULE_BODY_TOO_LARGE;
		return HTTP_BODY_BAD;
	}
	b->ended = b->left == 0;
	return step;
}
