/* The welcome page: which instance answered, as HTML or, for who prefers it, as
 * JSON.  Called by routes.c for "/" when there are no files to serve.
 *
 * The page needs nothing but itself: no network, no other file; script and style
 * are inline and nothing else is allowed by its Content-Security-Policy. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http_write.h"
#include "worker/connection.h"
#include "worker/reply.h"
#include "worker/routes.h"
#include "worker/server.h"

#define PAGE_BYTES 16384u
#define NAME_MAX_SHOWN 64u /* bytes of an app's name or release */

/* @i instance, @h its hue, @a app, @r release, @p pid, @n requests, @u uptime, @v version */
static const char page[] =
	"<!doctype html>\n"
	"<html lang=\"en\">\n"
	"<head>\n"
	"<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n"
	"<link rel=\"icon\" href=\"data:,\">\n"
	"<title>Instance @i of @a</title>\n"
	"<style>\n"
	":root{--hue:@h;--ink:#1d2327;--soft:#5b666e;--line:#d9dfe3;--back:#f6f7f5;--card:#fff;--l:34%}\n"
	"@media(prefers-color-scheme:dark){:root{--ink:#e8ecee;--soft:#9aa5ac;--line:#323a3f;"
	"--back:#15191b;--card:#1d2225;--l:66%}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;"
	"font:1rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back)}\n"
	"main{width:100%;max-width:33rem;padding:2.5rem;background:var(--card);"
	"border:1px solid var(--line);border-top:4px solid hsl(var(--hue) 60% var(--l));"
	"border-radius:6px}\n"
	".who{display:flex;align-items:center;gap:1.5rem}\n"
	".who b{font:600 4.5rem/1 ui-monospace,monospace;color:hsl(var(--hue) 60% var(--l));"
	"font-variant-numeric:tabular-nums}\n"
	"h1{font-size:1.35rem;line-height:1.3;margin:0;font-weight:600}\n"
	".who p{margin:.25rem 0 0;color:var(--soft)}\n"
	"dl{display:grid;grid-template-columns:auto 1fr;gap:.3rem 1.5rem;margin:2rem 0;"
	"padding:1.25rem 0;border:solid var(--line);border-width:1px 0}\n"
	"dt{color:var(--soft)}\n"
	"dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
	"button{font:inherit;padding:.45rem 1rem;border:1px solid var(--line);border-radius:6px;"
	"background:none;color:inherit;cursor:pointer}\n"
	"button:hover{border-color:var(--soft)}button:disabled{opacity:.5;cursor:default}\n"
	"#dots{display:flex;flex-wrap:wrap;gap:.3rem;margin:1rem 0 0;min-height:1.6rem}\n"
	"#dots span{width:1.6rem;height:1.6rem;border-radius:50%;font:600 .72rem/1.6rem "
	"ui-monospace,monospace;text-align:center;color:#fff}\n"
	"#sum{min-height:1.55em;margin:.5rem 0 0;color:var(--soft)}\n"
	"footer{margin-top:1.75rem;color:var(--soft);font-size:.9rem}\n"
	"code{font:.9em ui-monospace,monospace;color:var(--ink)}\n"
	"</style>\n"
	"</head>\n"
	"<body>\n"
	"<main>\n"
	"<div class=\"who\"><b aria-hidden=\"true\">@i</b>\n"
	"<div><h1>Instance @i of <em>@a</em> answered</h1>\n"
	"<p>Reload, and another one may.</p></div></div>\n"
	"<dl>\n"
	"<dt>Process</dt><dd>@p</dd>\n"
	"<dt>Release</dt><dd>@r</dd>\n"
	"<dt>Requests answered here</dt><dd>@n</dd>\n"
	"<dt>Up for</dt><dd>@u</dd>\n"
	"</dl>\n"
	"<button id=\"ask\" hidden>Ask 24 times</button>\n"
	"<div id=\"dots\" aria-hidden=\"true\"></div>\n"
	"<p id=\"sum\" role=\"status\"></p>\n"
	"<footer>Put your application here: <code>drover run -- node server.js</code><br>\n"
	"drover-worker @v</footer>\n"
	"</main>\n"
	"<script>\n"
	"const ask=document.getElementById('ask'),dots=document.getElementById('dots'),"
	"sum=document.getElementById('sum');\n"
	"ask.hidden=false;\n"
	"ask.onclick=async()=>{\n"
	" ask.disabled=true;dots.textContent='';const seen=new Map();let lost=0;\n"
	" for(let i=0;i<24;i++){\n"
	"  const dot=document.createElement('span');\n"
	"  try{\n"
	"   const reply=await fetch('',{headers:{Accept:'application/json'},cache:'no-store'});\n"
	"   if(!reply.ok)throw reply.status;\n"
	"   const n=(await reply.json()).instance;\n"
	"   seen.set(n,(seen.get(n)||0)+1);dot.textContent=n;\n"
	"   dot.style.background=`hsl(${(145+n*137)%360} 60% 30%)`;\n"
	"  }catch(e){lost++;dot.textContent='!';dot.style.background='#b3261e'}\n"
	"  dots.append(dot);\n"
	" }\n"
	" sum.textContent=[...seen].sort((a,b)=>a[0]-b[0]).map(([n,k])=>`instance ${n}: ${k}`)\n"
	"  .concat(lost?[`no answer: ${lost}`]:[]).join(', ');\n"
	" ask.disabled=false;\n"
	"};\n"
	"</script>\n"
	"</body>\n"
	"</html>\n";

static const char page_fields[] =
	"Cache-Control: no-store\r\n"
	"Vary: Accept\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; "
	"script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
	"form-action 'none'; frame-ancestors 'none'\r\n";

static void put_html(struct http_out *o, const char *text)
{
	for (size_t i = 0; i < NAME_MAX_SHOWN && text[i]; i++) {
		switch (text[i]) {
		case '<': http_out_text(o, "&lt;"); break;
		case '>': http_out_text(o, "&gt;"); break;
		case '&': http_out_text(o, "&amp;"); break;
		case '"': http_out_text(o, "&quot;"); break;
		default: http_out_bytes(o, text + i, 1); break;
		}
	}
}

/* RFC 8259 7; null for NULL. */
static void put_json(struct http_out *o, const char *text)
{
	if (!text) {
		http_out_text(o, "null");
		return;
	}
	http_out_text(o, "\"");
	for (size_t i = 0; i < NAME_MAX_SHOWN && text[i]; i++) {
		char escape[8];

		if (text[i] == '"' || text[i] == '\\') {
			http_out_text(o, "\\");
			http_out_bytes(o, text + i, 1);
		} else if ((uint8_t)text[i] < 0x20) {
			int n = snprintf(escape, sizeof(escape), "\\u%04x", (uint8_t)text[i]);

			http_out_bytes(o, escape, (size_t)n);
		} else {
			http_out_bytes(o, text + i, 1);
		}
	}
	http_out_text(o, "\"");
}

static uint64_t uptime_s(const struct server *s)
{
	return (clock_now_us() - s->started_us) / 1000000;
}

static void put_uptime(struct http_out *o, uint64_t seconds)
{
	char text[64];
	int n;

	if (seconds < 120)
		n = snprintf(text, sizeof(text), "%" PRIu64 " s", seconds);
	else if (seconds < 7200)
		n = snprintf(text, sizeof(text), "%" PRIu64 " min", seconds / 60);
	else if (seconds < 172800)
		n = snprintf(text, sizeof(text), "%" PRIu64 " h", seconds / 3600);
	else
		n = snprintf(text, sizeof(text), "%" PRIu64 " days", seconds / 86400);
	http_out_bytes(o, text, (size_t)n);
}

static void put_value(struct http_out *o, char mark, const struct server *s)
{
	const struct settings *settings = s->settings;

	switch (mark) {
	case 'i': http_out_u64(o, settings->instance); break;
	case 'h': http_out_u64(o, (145 + (uint64_t)settings->instance * 137) % 360); break;
	case 'a': put_html(o, settings->app ? settings->app : "drover-worker"); break;
	case 'r': put_html(o, settings->release ? settings->release : "none"); break;
	case 'p': http_out_u64(o, (uint64_t)getpid()); break;
	case 'n': http_out_u64(o, s->n_requests); break;
	case 'u': put_uptime(o, uptime_s(s)); break;
	case 'v': put_html(o, DROVER_VERSION); break;
	default: /* "@media" */
		http_out_text(o, "@");
		http_out_bytes(o, &mark, 1);
		break;
	}
}

static void put_page(struct http_out *o, const struct server *s)
{
	const char *at = page, *mark;

	while ((mark = strchr(at, '@')) != NULL) {
		http_out_bytes(o, at, (size_t)(mark - at));
		put_value(o, mark[1], s);
		at = mark + 2;
	}
	http_out_slice(o, slice_of(at));
}

static void put_object(struct http_out *o, const struct server *s)
{
	http_out_text(o, "{\"app\":");
	put_json(o, s->settings->app);
	http_out_text(o, ",\"instance\":");
	http_out_u64(o, s->settings->instance);
	http_out_text(o, ",\"release\":");
	put_json(o, s->settings->release);
	http_out_text(o, ",\"pid\":");
	http_out_u64(o, (uint64_t)getpid());
	http_out_text(o, ",\"requests\":");
	http_out_u64(o, s->n_requests);
	http_out_text(o, ",\"uptime_s\":");
	http_out_u64(o, uptime_s(s));
	http_out_text(o, "}\n");
}

void welcome_begin(struct connection *c, const struct ask *ask)
{
	const struct http_field *f = http_head_find(ask->head, HTTP_F_ACCEPT);
	struct slice accept = f ? f->value : (struct slice){ 0 };
	bool json = accept_quality(accept, SLICE("application/json")) >
		accept_quality(accept, SLICE("text/html"));
	char text[PAGE_BYTES];
	struct http_out o = { .p = text, .end = text + sizeof(text) };

	if (!ask_is_read(c, ask))
		return;
	if (json)
		put_object(&o, c->server);
	else
		put_page(&o, c->server);
	reply_whole(c, 200, json ? "application/json" : "text/html; charset=utf-8",
		    (struct slice){ text, (size_t)(o.p - text) },
		    (struct slice){ page_fields, sizeof(page_fields) - 1 });
}
