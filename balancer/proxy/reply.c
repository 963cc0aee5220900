/* drover's own replies.  Runs in the balancer. */
#include "balancer/proxy/reply.h"

#include <string.h>

#include "balancer/proxy/request.h"

const struct outcome_info outcome_table[OUTCOME_MAX] = {
#define OUTCOME(name, status, retry_after, error, detail) \
	[OUTCOME_##name] = { #name, status, retry_after, error, detail },
#include "balancer/proxy/outcome.def"
#undef OUTCOME
};

static uint64_t body_bytes(const char *p, size_t n)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4);
	return end ? n - 4 - (size_t)(end - p) : 0;
}

struct own_reply reply_error(struct client *c, const struct request *r, enum outcome outcome,
			     enum http_rule rule, bool close, enum err *ret_err)
{
	struct proxy *p = c->proxy;
	const struct outcome_info *info = &outcome_table[outcome];
	bool ruled = outcome == OUTCOME_REFUSED && rule != HTTP_RULE_NONE;
	struct http_error_page page = {
		.status = ruled ? http_rule_table[rule].status : info->status,
		.detail = ruled ? http_rule_table[rule].text : info->detail,
		.proxy_error = info->proxy_error,
		.retry_after_s = info->retry_after_s,
		.close = close,
	};
	if (r) {
		page.request_id = kept_slice(r->head, r->kept.request_id);
		page.accept = kept_slice(r->head, r->kept.accept);
		page.no_body = r->method == HTTP_M_HEAD;
	}
	struct http_out o = { p->out, p->out + OUT_BYTES, false };
	http_out_error_page(&o, &page);
	struct iovec iov = { p->out, (size_t)(o.p - p->out) };
	*ret_err = client_write(c, &iov, 1);
	tally_inc(p->row, COUNTER_replies_own);
	tally_inc(p->row, page.status >= 500 ? COUNTER_replies_5xx : COUNTER_replies_4xx);
	return (struct own_reply){ outcome, rule, page.status, body_bytes(p->out, iov.iov_len) };
}
