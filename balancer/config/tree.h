/* A config file as a tree: scalars (all of them text), lists and maps, each
 * with the place where it was written.  Through aliases a node may be reached
 * by several ways; the tree owns all of them, in one chain. */
#ifndef DROVER_CONFIG_TREE_H
#define DROVER_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "balancer/config/report.h"

enum node_kind { NODE_SCALAR = 0, NODE_LIST, NODE_MAP, NODE_KIND_MAX };

struct node {
	uint32_t kind; /* enum node_kind */
	bool plain;    /* a scalar without quotes */
	struct place at;
	char *text;           /* scalar: NUL-terminated, no NUL inside */
	struct node **keys;   /* map: scalars, no two alike */
	struct node **values; /* list and map */
	size_t n;             /* of them */
	size_t weight;        /* nodes in and below it, aliases counted in full */
	struct node *next;    /* the tree's chain */
};

struct tree {
	struct node *root; /* or NULL: an empty file */
	struct node *all;
};

struct node *tree_new(struct tree *t, enum node_kind kind, struct place at);
struct node *tree_scalar(struct tree *t, const char *text, struct place at);
/* `key` is NULL in lists. */
void tree_append(struct node *parent, struct node *key, struct node *value);
void tree_fini(struct tree *t);

/* The value of `key` in a map, and its key node when `ret_key`; NULL when absent
 * (or `map` is NULL or not a map). */
struct node *tree_get(const struct node *map, const char *key, struct node **ret_key);

/* Nothing was written behind the key: "timeouts:" alone. */
bool tree_is_blank(const struct node *node);

/* Reads UTF-8 YAML (yaml.c).  False: the text has no structure to speak of, one
 * error was reported, the tree is only to be ended.  True: the tree can be used,
 * though duplicate keys may have been reported (the first is in the tree). */
MUST_CHECK bool yaml_read(struct report *r, struct tree *ret_tree);

#endif
