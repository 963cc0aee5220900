/* libyaml events to our tree.  Called by load.c, in the master, on files that an
 * administrator wrote, which is no reason to trust them with our time or memory:
 *
 *   bytes     valid UTF-8 without control bytes, checked before libyaml looks
 *   depth     DEPTH_MAX, checked per event (libyaml's own document loader needs
 *             20 CPU seconds for 200 kB of '[')
 *   nodes     NODES_MAX, what aliases stand for included, so that a file cannot
 *             say little and mean much
 *
 * Keys are unique per map.  `<<` merges maps as docker-compose users know it: what
 * the map says itself wins, then the earlier of several.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "balancer/config/tree.h"
#include "balancer/config/utf8.h"
#include "common/mem.h"

#define DEPTH_MAX 64
#define NODES_MAX 65536
#define ANCHORS_MAX 256

struct frame {
	struct node *node; /* list or map that is open */
	struct node *key;  /* map: the key that waits for its value */
};

struct anchor {
	char *name;
	struct node *node;
	bool open; /* its list or map has not ended: an alias now would be a cycle */
};

struct builder {
	yaml_parser_t parser;
	struct report *report;
	struct tree *tree;
	struct frame stack[DEPTH_MAX];
	size_t depth;
	struct anchor anchors[ANCHORS_MAX];
	size_t n_anchors;
	size_t weight; /* of all that was read so far */
};

/* ---- libyaml's memory ---- */

/* Forked children inherit what was freed, too, and a file may hold secrets: libyaml leaves the
 * beginning of a long value behind each time it makes room for more of it, and whole ones when a
 * file ends in an error.  It has no hook for its allocator, but these functions, of its own, get
 * all of it, and those of the program that loads it come first. */
void *yaml_realloc(void *ptr, size_t size);
void yaml_free(void *ptr);

void *yaml_realloc(void *ptr, size_t size)
{
	void *moved = mem_alloc(size);

	if (!moved || !ptr)
		return moved;
	memcpy(moved, ptr, MIN(malloc_usable_size(ptr), size));
	mem_wipe(ptr);
	return moved;
}

void yaml_free(void *ptr)
{
	mem_wipe(ptr);
}

/* ---- bytes ---- */

static struct place place_of(const yaml_mark_t *from, const yaml_mark_t *to)
{
	struct place at = { .kind = PLACE_FILE,
			    .line = (uint32_t)from->line + 1,
			    .column = (uint32_t)from->column + 1 };
	if (from->line == to->line)
		at.width = (uint32_t)(to->column - from->column);
	return at;
}

/* YAML 1.1 5.1: the characters a stream may hold. */
static bool legal(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || c == 0x85 || (c >= 0x20 && c < 0x7f) ||
	       (c >= 0xa0 && c != 0xfeff && (c & 0xfffe) != 0xfffe);
}

static bool check_bytes(struct report *r)
{
	struct place at = { .kind = PLACE_FILE, .line = 1, .column = 1, .width = 1 };
	for (size_t i = 0; i < r->n;) {
		uint32_t code;
		size_t len = utf8_decode(r->text + i, r->n - i, &code);
		if (len == 0) {
			report_add(r, at, "byte 0x%02x is not valid UTF-8",
				   (unsigned char)r->text[i]);
			report_hint(r, "save the file as UTF-8");
			return false;
		}
		if (!legal(code)) {
			report_add(r, at, "character U+%04X is not allowed", code);
			report_hint(r, "in double quotes it can be written as \"\\u%04X\"",
				    code & 0xffff);
			return false;
		}
		if (code == '\n' || code == 0x85 || code == 0x2028 || code == 0x2029 ||
		    (code == '\r' && (i + 1 == r->n || r->text[i + 1] != '\n'))) {
			at.line++;
			at.column = 1;
		} else if (code != '\r') {
			at.column++;
		}
		i += len;
	}
	return true;
}

/* ---- what libyaml refuses ---- */

static char byte_at(const struct report *r, struct place at)
{
	const char *p = r->text, *end = p + r->n;
	for (uint32_t line = 1; line < at.line && p < end; p++)
		line += *p == '\n';
	for (uint32_t column = 1; column < at.column && p < end; p++)
		column += ((unsigned char)p[0] & 0xc0) != 0x80;
	return p < end ? *p : '\0';
}

struct remedy {
	const char *problem; /* libyaml's words, or their beginning */
	char byte;           /* only when this stands at the place; 0: any */
	const char *hint;
};

static const struct remedy remedies[] = {
	{ "found character that cannot start any token", '\t',
	  "YAML is indented with spaces, never with tabs" },
	{ "found character that cannot start any token", '\0',
	  "put a value that begins with this character in quotes" },
	{ "did not find expected alphabetic or numeric character", '\0',
	  "put a value that begins with * or & in quotes" },
	{ "mapping values are not allowed in this context", '\0',
	  "check the indentation; a value with \": \" in it needs quotes" },
	{ "did not find expected key", '\0',
	  "what belongs together begins in one column; this fits none of the lines above" },
	{ "could not find expected ':'", '\0', "a key is followed by \": \" and its value" },
	{ "did not find expected '-' indicator", '\0',
	  "every entry of a list begins with \"- \" in the same column" },
	{ "did not find expected node content", ':',
	  "put an address with :: in quotes, like \"[::1]:8080\"" },
	{ "block sequence entries are not allowed in this context", '\0',
	  "a list begins on its own line; a lone - as a value needs quotes: \"-\"" },
};

static void report_syntax(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	struct place at = place_of(&p->problem_mark, &p->problem_mark);
	at.width = 1;
	if (p->error == YAML_MEMORY_ERROR) {
		report_add(b->report, at, "out of memory");
		return;
	}
	const char *problem = p->problem ? p->problem : "not understood";
	if (p->context && p->context_mark.line != p->problem_mark.line)
		report_add(b->report, at, "not valid YAML: %s %s that begins on line %zu", problem,
			   p->context, p->context_mark.line + 1);
	else
		report_add(b->report, at, "not valid YAML: %s", problem);
	char byte = byte_at(b->report, at);
	for (size_t i = 0; i < ARRAY_LEN(remedies); i++) {
		const struct remedy *m = &remedies[i];
		if (strcmp(problem, m->problem) == 0 && (!m->byte || m->byte == byte)) {
			report_hint(b->report, "%s", m->hint);
			return;
		}
	}
}

/* ---- maps ---- */

struct entry {
	struct node *key, *value;
	size_t order; /* own entries first, then merged ones */
	bool own, drop;
};

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(x->key->text, y->key->text);
	return order ? order : x->order < y->order ? -1 : x->order > y->order;
}

static int by_order(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool is_merge(const struct node *key)
{
	return key->plain && strcmp(key->text, "<<") == 0;
}

/* The maps that `value` of a `<<` names; NULL past the last. */
static const struct node *merge_source(const struct node *value, size_t i)
{
	if (value->kind == NODE_LIST)
		return i < value->n ? value->values[i] : NULL;
	return i == 0 ? value : NULL;
}

static bool spend(struct builder *b, struct place at, size_t weight)
{
	b->weight += weight;
	if (b->weight <= NODES_MAX)
		return true;
	report_add(b->report, at, "more than %d values in one file, counting what aliases repeat",
		   NODES_MAX);
	return false;
}

/* Own entries and, behind them, those of merged maps. */
static struct entry *gather(struct builder *b, const struct node *map, size_t *ret_n)
{
	size_t n = 0, room = map->n;
	struct entry *all = mem_must_alloc((room + 1) * sizeof(*all));
	for (size_t i = 0; i < map->n; i++)
		all[n++] = (struct entry){ map->keys[i], map->values[i], i, true,
					   is_merge(map->keys[i]) };
	for (size_t i = 0; i < map->n; i++) {
		const struct node *from;
		if (!is_merge(map->keys[i]))
			continue;
		for (size_t j = 0; (from = merge_source(map->values[i], j)); j++) {
			if (from->kind != NODE_MAP) {
				report_add(b->report, map->values[i]->at,
					   "<< merges maps: give it the alias of one (<<: *name)");
				break;
			}
			room += from->n;
			all = mem_must_grow(all, (room + 1) * sizeof(*all));
			for (size_t k = 0; k < from->n; k++, n++)
				all[n] = (struct entry){ from->keys[k], from->values[k], n, false,
							 false };
		}
	}
	*ret_n = n;
	return all;
}

/* A map has ended: no key twice, merged entries in.  Sorted, because a file may
 * hold tens of thousands of keys. */
static bool end_map(struct builder *b, struct node *map)
{
	size_t n;
	struct entry *all = gather(b, map, &n);
	qsort(all, n, sizeof(*all), by_key);
	for (size_t i = 1, first = 0; i < n; i++) {
		if (strcmp(all[first].key->text, all[i].key->text) != 0) {
			first = i;
			continue;
		}
		all[i].drop = true;
		if (!all[i].own)
			continue;
		char quoted[REPORT_QUOTE_MAX];
		struct place at = all[first].key->at;
		report_add(b->report, all[i].key->at,
			   "duplicate key %s: it is already on line %u, column %u",
			   report_quote(all[i].key->text, quoted), at.line, at.column);
	}
	qsort(all, n, sizeof(*all), by_order);
	map->n = 0;
	map->weight = 1;
	bool fits = true;
	for (size_t i = 0; i < n && fits; i++) {
		if (all[i].drop)
			continue;
		if (!all[i].own)
			fits = spend(b, map->at, all[i].value->weight);
		tree_append(map, all[i].key, all[i].value);
	}
	mem_free(all);
	return fits;
}

/* ---- events ---- */

/* A node is there: the root, a list's next entry, a map's key or its value. */
static bool place_node(struct builder *b, struct node *node)
{
	if (!spend(b, node->at, 1))
		return false;
	if (b->depth == 0) {
		b->tree->root = node;
		return true;
	}
	struct frame *top = &b->stack[b->depth - 1];
	if (top->node->kind == NODE_LIST) {
		tree_append(top->node, NULL, node);
	} else if (top->key) {
		tree_append(top->node, top->key, node);
		top->key = NULL;
	} else if (node->kind == NODE_SCALAR) {
		top->key = node;
	} else {
		report_add(b->report, node->at, "a key must be a word, not a list or a map");
		return false;
	}
	return true;
}

static bool add_anchor(struct builder *b, const yaml_char_t *name, struct node *node, bool open)
{
	if (!name)
		return true;
	if (b->n_anchors == ANCHORS_MAX) {
		report_add(b->report, node->at, "more than %d anchors in one file", ANCHORS_MAX);
		return false;
	}
	b->anchors[b->n_anchors++] = (struct anchor){ mem_must_dup((const char *)name), node, open };
	return true;
}

static bool no_tag(struct builder *b, const yaml_char_t *tag, struct place at)
{
	char quoted[REPORT_QUOTE_MAX];
	if (!tag)
		return true;
	report_add(b->report, at, "tag %s: values are typed by their key, tags have no meaning here",
		   report_quote((const char *)tag, quoted));
	return false;
}

static bool open_node(struct builder *b, enum node_kind kind, struct place at,
		      const yaml_char_t *anchor)
{
	if (b->depth == DEPTH_MAX) {
		report_add(b->report, at, "nested deeper than %d levels", DEPTH_MAX);
		return false;
	}
	struct node *node = tree_new(b->tree, kind, at);
	if (!place_node(b, node) || !add_anchor(b, anchor, node, true))
		return false;
	b->stack[b->depth++] = (struct frame){ node, NULL };
	return true;
}

/* The parent counted this node before it had entries: count them now. */
static bool close_node(struct builder *b)
{
	struct node *node = b->stack[--b->depth].node;
	if (node->kind == NODE_MAP && !end_map(b, node))
		return false;
	if (b->depth > 0)
		b->stack[b->depth - 1].node->weight += node->weight - 1;
	for (size_t i = 0; i < b->n_anchors; i++)
		if (b->anchors[i].node == node)
			b->anchors[i].open = false;
	return true;
}

static bool on_scalar(struct builder *b, const yaml_event_t *e, struct place at)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t n = e->data.scalar.length;
	if (!no_tag(b, e->data.scalar.tag, at))
		return false;
	struct node *node = tree_new(b->tree, NODE_SCALAR, at);
	node->text = mem_must_dupn(text, n);
	node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (memchr(text, '\0', n)) {
		report_add(b->report, at, "a value cannot hold a NUL byte (\\0)");
		return false;
	}
	return place_node(b, node) && add_anchor(b, e->data.scalar.anchor, node, false);
}

static bool on_alias(struct builder *b, const yaml_event_t *e, struct place at)
{
	const char *name = (const char *)e->data.alias.anchor;
	char quoted[REPORT_QUOTE_MAX];
	for (size_t i = b->n_anchors; i-- > 0;) {
		struct anchor *a = &b->anchors[i];
		if (strcmp(a->name, name) != 0)
			continue;
		if (a->open) {
			report_add(b->report, at, "alias %s stands inside the value that it names",
				   report_quote(name, quoted));
			return false;
		}
		return spend(b, at, a->node->weight - 1) && place_node(b, a->node);
	}
	report_add(b->report, at, "alias of %s, but no anchor of this name comes before it",
		   report_quote(name, quoted));
	report_hint(b->report, "put a value that begins with * in quotes");
	return false;
}

/* False: stop reading, something was reported. */
static bool on_event(struct builder *b, const yaml_event_t *e)
{
	struct place at = place_of(&e->start_mark, &e->end_mark);
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (!b->tree->root)
			return true;
		report_add(b->report, at, "a second document begins here; one file is one document");
		return false;
	case YAML_SCALAR_EVENT: return on_scalar(b, e, at);
	case YAML_ALIAS_EVENT: return on_alias(b, e, at);
	case YAML_SEQUENCE_START_EVENT:
		return no_tag(b, e->data.sequence_start.tag, at) &&
		       open_node(b, NODE_LIST, at, e->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		return no_tag(b, e->data.mapping_start.tag, at) &&
		       open_node(b, NODE_MAP, at, e->data.mapping_start.anchor);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: return close_node(b);
	default: return true;
	}
}

static bool read_events(struct builder *b)
{
	for (;;) {
		yaml_event_t event;
		if (!yaml_parser_parse(&b->parser, &event)) {
			report_syntax(b);
			return false;
		}
		bool end = event.type == YAML_STREAM_END_EVENT;
		bool good = on_event(b, &event);
		yaml_event_delete(&event);
		if (!good || end)
			return good;
	}
}

bool yaml_read(struct report *r, struct tree *ret_tree)
{
	*ret_tree = (struct tree){ 0 };
	if (!check_bytes(r))
		return false;
	struct builder *b = mem_must_alloc(sizeof(*b));
	b->report = r;
	b->tree = ret_tree;
	if (!yaml_parser_initialize(&b->parser)) {
		report_add(r, (struct place){ .kind = PLACE_FILE }, "out of memory");
		mem_free(b);
		return false;
	}
	yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b->parser, (const unsigned char *)r->text, r->n);
	bool good = read_events(b);
	yaml_parser_delete(&b->parser);
	for (size_t i = 0; i < b->n_anchors; i++)
		mem_free(b->anchors[i].name);
	mem_free(b);
	return good;
}
