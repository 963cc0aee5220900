/* The tree's memory.  Filled by yaml.c (files) and load.c (command line and
 * defaults), read by load.c; lives only while a config is loaded. */
#include "balancer/config/tree.h"

#include <string.h>

#include "common/mem.h"

struct node *tree_new(struct tree *t, enum node_kind kind, struct place at)
{
	struct node *node = mem_must_alloc(sizeof(*node));
	node->kind = kind;
	node->at = at;
	node->weight = 1;
	node->next = t->all;
	t->all = node;
	return node;
}

struct node *tree_scalar(struct tree *t, const char *text, struct place at)
{
	struct node *node = tree_new(t, NODE_SCALAR, at);
	node->text = mem_must_dup(text);
	return node;
}

/* Room is doubled at each power of two: no second counter is needed. */
static struct node **push(struct node **list, size_t n, struct node *node)
{
	if ((n & (n - 1)) == 0)
		list = mem_must_grow(list, (n ? 2 * n : 1) * sizeof(struct node *));
	list[n] = node;
	return list;
}

void tree_append(struct node *parent, struct node *key, struct node *value)
{
	if (parent->kind == NODE_MAP)
		parent->keys = push(parent->keys, parent->n, key);
	parent->values = push(parent->values, parent->n, value);
	parent->n++;
	parent->weight += value->weight;
}

void tree_fini(struct tree *t)
{
	struct node *next;
	for (struct node *node = t->all; node; node = next) {
		next = node->next;
		mem_wipe(node->text);
		mem_free(node->keys);
		mem_free(node->values);
		mem_free(node);
	}
	*t = (struct tree){ 0 };
}

struct node *tree_get(const struct node *map, const char *key, struct node **ret_key)
{
	if (!map || map->kind != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i]->text, key) == 0) {
			if (ret_key)
				*ret_key = map->keys[i];
			return map->values[i];
		}
	}
	return NULL;
}

bool tree_is_blank(const struct node *node)
{
	return node->kind == NODE_SCALAR && node->plain && node->text[0] == '\0';
}
