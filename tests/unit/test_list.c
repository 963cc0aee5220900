/* common/list.h: order, removal, and iteration while removing. */
#include "lib/check.h"

#include "common/list.h"

struct item {
	int number;
	struct list link;
};

/* The numbers in the list as decimal digits, forward then backward: "123|321". */
static const char *shown(const struct list *head, char buf[static 64])
{
	char *p = buf;

	list_each(it, head)
		*p++ = (char)('0' + list_entry(it, struct item, link)->number);
	*p++ = '|';
	for (const struct list *it = head->prev; it != head; it = it->prev)
		*p++ = (char)('0' + container_of(it, const struct item, link)->number);
	*p = '\0';
	return buf;
}

static void test_order(void **state)
{
	struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
	struct list head;
	char buf[64];

	(void)state;
	list_init(&head);
	assert_true(list_empty(&head));
	assert_null(list_first(&head));
	assert_string_equal(shown(&head, buf), "|");
	list_push_back(&head, &b.link);
	list_push_back(&head, &c.link);
	list_push_front(&head, &a.link);
	assert_string_equal(shown(&head, buf), "123|321");
	assert_ptr_equal(list_first(&head), &a.link);
	assert_false(list_empty(&head));
}

static void test_remove(void **state)
{
	struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
	struct list head;
	char buf[64];

	(void)state;
	list_init(&head);
	list_init(&b.link);
	assert_false(list_linked(&b.link));
	list_remove(&b.link); /* unlinked: harmless */
	list_push_back(&head, &a.link);
	list_push_back(&head, &b.link);
	list_push_back(&head, &c.link);
	assert_true(list_linked(&b.link));
	list_remove(&b.link);
	assert_false(list_linked(&b.link));
	assert_string_equal(shown(&head, buf), "13|31");
	list_remove(&b.link); /* again */
	assert_string_equal(shown(&head, buf), "13|31");
	list_remove(&c.link);
	list_remove(&a.link);
	assert_true(list_empty(&head));
	list_push_front(&head, &b.link); /* and it may come back */
	assert_string_equal(shown(&head, buf), "2|2");
}

static void test_move_back(void **state)
{
	struct item a = { .number = 1 }, b = { .number = 2 }, c = { .number = 3 };
	struct list head, other;
	char buf[64];

	(void)state;
	list_init(&head);
	list_init(&other);
	list_init(&c.link);
	list_push_back(&head, &a.link);
	list_push_back(&head, &b.link);
	list_move_back(&head, &c.link); /* unlinked */
	assert_string_equal(shown(&head, buf), "123|321");
	list_move_back(&head, &a.link); /* within one */
	assert_string_equal(shown(&head, buf), "231|132");
	list_move_back(&head, &a.link); /* the last one */
	assert_string_equal(shown(&head, buf), "231|132");
	list_move_back(&other, &c.link);
	list_move_back(&other, &b.link);
	assert_string_equal(shown(&head, buf), "1|1");
	assert_string_equal(shown(&other, buf), "32|23");
}

static void test_each_safe_removes_current(void **state)
{
	struct item items[5];
	struct list head;
	char buf[64];

	(void)state;
	list_init(&head);
	for (int i = 0; i < 5; i++) {
		items[i].number = i;
		list_push_back(&head, &items[i].link);
	}
	list_each_safe(it, &head) {
		if (list_entry(it, struct item, link)->number % 2 == 0) {
			list_remove(it);
			memset(it, 0xa5, sizeof(*it)); /* as a free would */
		}
	}
	assert_string_equal(shown(&head, buf), "13|31");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_move_back),
		cmocka_unit_test(test_each_safe_removes_current),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
