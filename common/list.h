/* Intrusive doubly linked ring.  A head and an unlinked node both point to
 * themselves, so removal needs no head and may be repeated. */
#ifndef DROVER_COMMON_LIST_H
#define DROVER_COMMON_LIST_H

#include <stdbool.h>

#include "common/base.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline bool list_linked(const struct list *node)
{
	return node->next != node;
}

static inline void list_insert_between(struct list *node, struct list *a, struct list *b)
{
	node->prev = a;
	node->next = b;
	a->next = node;
	b->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert_between(node, head, head->next);
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert_between(node, head->prev, head);
}

/* Unlinks; harmless on an unlinked node. */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* From the list that it is on, if any, to the end of another or the same. */
static inline void list_move_back(struct list *head, struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_push_back(head, node);
}

static inline struct list *list_first(const struct list *head)
{
	return list_empty(head) ? NULL : head->next;
}

#define list_entry(node, type, member) container_of(node, type, member)

#define list_each(it, head) \
	for (struct list *it = (head)->next; it != (head); it = it->next)

/* The body may remove (and free) the current node, no other. */
#define list_each_safe(it, head)                                        \
	for (struct list *it = (head)->next, *it##_next = it->next;      \
	     it != (head); it = it##_next, it##_next = it->next)

#endif
