/* common/addr.c: addresses as users write them, as the kernel gives them, and
 * blocks of them. */
#include "lib/check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "common/addr.h"

/* sun_path holds 107 bytes and a NUL. */
#define TEN "/123456789"
#define PATH_107 TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "/123456"

static const struct {
	const char *text;
	bool zero;
	enum err want;
	const char *shown; /* by addr_format(); NULL: as `text` */
} texts[] = {
	{ "127.0.0.1:80", false, ERR_OK, NULL },
	{ "255.255.255.255:65535", false, ERR_OK, NULL },
	{ "1.2.3.4:1", false, ERR_OK, NULL },
	{ "80", false, ERR_OK, "0.0.0.0:80" },
	{ ":80", false, ERR_OK, "0.0.0.0:80" },
	{ "*:80", false, ERR_OK, "0.0.0.0:80" },
	{ "0.0.0.0:08080", false, ERR_OK, "0.0.0.0:8080" },
	{ "[::1]:80", false, ERR_OK, NULL },
	{ "[::]:80", false, ERR_OK, NULL },
	{ "[0:0:0:0:0:0:0:1]:80", false, ERR_OK, "[::1]:80" },
	{ "[2001:DB8::A]:443", false, ERR_OK, "[2001:db8::a]:443" },
	{ "[::ffff:1.2.3.4]:5", false, ERR_OK, NULL },
	{ "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535", false, ERR_OK,
	  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
	{ "unix:/run/drover/http.sock", false, ERR_OK, NULL },
	{ "unix:http.sock", false, ERR_OK, NULL },
	{ "unix:/a:80", false, ERR_OK, NULL },
	{ "unix:" PATH_107, false, ERR_OK, NULL },
	{ "unix:" PATH_107 "x", false, ERR_RANGE, NULL },
	{ "unix:", false, ERR_SYNTAX, NULL },
	{ "UNIX:/x", false, ERR_SYNTAX, NULL },
	{ "unix/x", false, ERR_SYNTAX, NULL },

	{ "127.0.0.1:0", false, ERR_RANGE, NULL },
	{ "127.0.0.1:0", true, ERR_OK, NULL },
	{ "0", true, ERR_OK, "0.0.0.0:0" },
	{ "0", false, ERR_RANGE, NULL },
	{ "[::1]:0", false, ERR_RANGE, NULL },
	{ "127.0.0.1:65536", true, ERR_RANGE, NULL },
	{ "65536", false, ERR_RANGE, NULL },
	{ "18446744073709551696", false, ERR_RANGE, NULL }, /* 80 modulo 2^64 */
	{ "junk:99999", false, ERR_SYNTAX, NULL },

	{ "", false, ERR_SYNTAX, NULL },
	{ ":", false, ERR_SYNTAX, NULL },
	{ "::", false, ERR_SYNTAX, NULL },
	{ "::1", false, ERR_SYNTAX, NULL },
	{ "::1:80", false, ERR_SYNTAX, NULL },
	{ "[::1]", false, ERR_SYNTAX, NULL },
	{ "[::1]80", false, ERR_SYNTAX, NULL },
	{ "[::1]:", false, ERR_SYNTAX, NULL },
	{ "[::1:80", false, ERR_SYNTAX, NULL },
	{ "[]:80", false, ERR_SYNTAX, NULL },
	{ "[:80", false, ERR_SYNTAX, NULL },
	{ "]:80", false, ERR_SYNTAX, NULL },
	{ "[127.0.0.1]:80", false, ERR_SYNTAX, NULL },
	{ "[*]:80", false, ERR_SYNTAX, NULL },
	{ "[::1%lo]:80", false, ERR_SYNTAX, NULL },
	{ "[::g]:80", false, ERR_SYNTAX, NULL },
	{ "[1:2:3:4:5:6:7:8:9]:80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:http", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:-1", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:+80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:80 ", false, ERR_SYNTAX, NULL },
	{ " 127.0.0.1:80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1 :80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.1:80:81", false, ERR_SYNTAX, NULL },
	{ "127.1:80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.256:80", false, ERR_SYNTAX, NULL },
	{ "127.0.0.01:80", false, ERR_SYNTAX, NULL },
	{ "0x7f000001:80", false, ERR_SYNTAX, NULL },
	{ "localhost:80", false, ERR_SYNTAX, NULL },
	{ "http://127.0.0.1:80", false, ERR_SYNTAX, NULL },
	{ "**:80", false, ERR_SYNTAX, NULL },
	{ PATH_107 ":80", false, ERR_SYNTAX, NULL },
};

static void test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct addr a = { .len = 4711 };
		char buf[ADDR_TEXT_MAX];
		enum err e = addr_parse(slice_of(texts[i].text), texts[i].zero, &a);
		check_row_int(texts[i].text, e, texts[i].want);
		if (texts[i].want)
			check_row_int(texts[i].text, a.len, 4711);
		else
			check_row_text(texts[i].text, addr_format(&a, buf),
				       texts[i].shown ? texts[i].shown : texts[i].text);
	}
}

static void test_parse_bytes(void **state)
{
	struct addr a;

	(void)state;
	assert_int_equal(addr_parse(SLICE("127.0.0.1\0:80"), false, &a), ERR_SYNTAX);
	assert_int_equal(addr_parse(SLICE("[::1\0]:80"), false, &a), ERR_SYNTAX);
	assert_int_equal(addr_parse(SLICE("unix:/a\0b"), false, &a), ERR_SYNTAX);
	assert_int_equal(addr_parse(SLICE("unix:\0name"), false, &a), ERR_SYNTAX);
	assert_int_equal(addr_parse(SLICE("80\0"), false, &a), ERR_SYNTAX);
	assert_int_equal(addr_parse((struct slice){ NULL, 0 }, false, &a), ERR_SYNTAX);
	/* Not NUL-terminated: what follows is not looked at. */
	assert_int_equal(addr_parse((struct slice){ "127.0.0.1:8099", 12 }, false, &a), ERR_OK);
	assert_int_equal(addr_port(&a), 80);
}

static void test_made(void **state)
{
	struct addr a = addr_ipv4_loopback(8080), u, v4;
	char buf[ADDR_TEXT_MAX];

	(void)state;
	assert_string_equal(addr_format(&a, buf), "127.0.0.1:8080");
	assert_int_equal(addr_port(&a), 8080);
	assert_false(addr_is_unix(&a));
	assert_int_equal(addr_unix("/run/x", &u), ERR_OK);
	assert_true(addr_is_unix(&u));
	assert_int_equal(addr_port(&u), 0);
	assert_int_equal(addr_unix("", &u), ERR_SYNTAX);
	assert_int_equal(addr_unix(PATH_107, &u), ERR_OK);
	assert_int_equal(addr_unix(PATH_107 "x", &u), ERR_RANGE);
	assert_int_equal(addr_parse(SLICE("127.0.0.1:8080"), false, &v4), ERR_OK);
	assert_true(addr_equal(&a, &v4));
}

static void test_format_host(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "127.0.0.1:80", "127.0.0.1" }, { "[::1]:80", "::1" },
		{ "[::ffff:10.1.2.3]:80", "10.1.2.3" }, { "[2001:db8::1]:80", "2001:db8::1" },
		{ "unix:/run/x", "unix" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr a;
		char buf[ADDR_TEXT_MAX];
		check_row_int(rows[i].text, addr_parse(slice_of(rows[i].text), false, &a), ERR_OK);
		struct addr_host h = addr_host_of(&a);
		check_row_int(rows[i].text, addr_format_host(&h, buf), strlen(rows[i].want));
		check_row_text(rows[i].text, buf, rows[i].want);
	}
}

/* And back: the port is lost, and a Unix peer's name, nothing else. */
static void test_host(void **state)
{
	static const struct {
		const char *text, *back;
	} rows[] = {
		{ "127.0.0.1:80", "127.0.0.1:0" },
		{ "255.254.253.252:1", "255.254.253.252:0" },
		{ "[2001:db8:1:2:3:4:5:6]:80", "[2001:db8:1:2:3:4:5:6]:0" },
		{ "[::ffff:10.1.2.3]:80", "[::ffff:10.1.2.3]:0" },
		{ "unix:/run/x", "unix:" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr a;
		char buf[ADDR_TEXT_MAX];
		check_row_int(rows[i].text, addr_parse(slice_of(rows[i].text), false, &a), ERR_OK);
		struct addr_host h = addr_host_of(&a);
		struct addr b = addr_of_host(&h);
		check_row_text(rows[i].text, addr_format(&b, buf), rows[i].back);
		check_row(rows[i].text, b.len <= a.len);
	}
}

/* What accept() and getsockname() give need not look like what we build. */
static void test_unix_as_the_kernel_gives_it(void **state)
{
	struct addr a, full, named, shorter;
	char buf[ADDR_TEXT_MAX];
	int pair[2];

	(void)state;
	memset(&a, 0x41, sizeof(a)); /* what lies past len must not be read */
	a.len = sizeof(a.un);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(getpeername(pair[0], &a.sa, &a.len), 0);
	assert_int_equal(a.len, sizeof(sa_family_t));
	assert_string_equal(addr_format(&a, buf), "unix:");
	struct addr_host h = addr_host_of(&a);
	assert_int_equal(addr_format_host(&h, buf), 4);
	assert_string_equal(buf, "unix");
	assert_true(addr_equal(&a, &a));
	close(pair[0]);
	close(pair[1]);

	/* All 108 bytes used, no NUL anywhere. */
	memset(&full, 'x', sizeof(full));
	full.un.sun_family = AF_UNIX;
	full.len = sizeof(full.un);
	assert_int_equal(strlen(addr_format(&full, buf)), 5 + 108);
	full.len = sizeof(full.un) + 1; /* as the kernel counts a terminated 108 */
	assert_int_equal(strlen(addr_format(&full, buf)), 5 + 108);

	/* With and without the NUL counted, it is the same name. */
	assert_int_equal(addr_unix("/run/x", &named), ERR_OK);
	shorter = named;
	shorter.len--;
	assert_true(addr_equal(&named, &shorter));
	shorter.len--;
	assert_false(addr_equal(&named, &shorter));
	assert_false(addr_equal(&named, &a));

	/* Abstract names. */
	memset(&a, 0, sizeof(a));
	a.un.sun_family = AF_UNIX;
	memcpy(a.un.sun_path, "\0name", 5);
	a.len = offsetof(struct sockaddr_un, sun_path) + 5;
	assert_string_equal(addr_format(&a, buf), "unix:@name");
}

static void test_equal(void **state)
{
	static const struct {
		const char *a, *b;
		bool want;
	} rows[] = {
		{ "1.2.3.4:5", "1.2.3.4:5", true },
		{ "1.2.3.4:5", "1.2.3.4:6", false },
		{ "1.2.3.4:5", "1.2.3.5:5", false },
		{ "[::1]:5", "[0::1]:5", true },
		{ "[::1]:5", "[::1]:6", false },
		{ "[::1]:5", "[::2]:5", false },
		{ "[::]:5", "*:5", false },
		{ "[::ffff:1.2.3.4]:5", "1.2.3.4:5", false },
		{ "unix:/a", "unix:/a", true },
		{ "unix:/a", "unix:/ab", false },
		{ "unix:/a", "1.2.3.4:5", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr a, b;
		check_row_int(rows[i].a, addr_parse(slice_of(rows[i].a), false, &a), ERR_OK);
		check_row_int(rows[i].b, addr_parse(slice_of(rows[i].b), false, &b), ERR_OK);
		/* Not part of an address's identity. */
		if (b.sa.sa_family == AF_INET6)
			b.in6.sin6_flowinfo = 7;
		check_row_int(rows[i].b, addr_equal(&a, &b), rows[i].want);
		check_row_int(rows[i].b, addr_equal(&b, &a), rows[i].want);
	}
}

static void test_unknown_family(void **state)
{
	struct addr a = { .len = 16 };
	struct addr_block all;
	char buf[ADDR_TEXT_MAX];

	(void)state;
	a.sa.sa_family = AF_PACKET;
	assert_string_equal(addr_format(&a, buf), "unknown");
	struct addr_host h = addr_host_of(&a);
	assert_int_equal(addr_format_host(&h, buf), 7);
	assert_false(addr_equal(&a, &a));
	assert_int_equal(addr_block_parse(SLICE("::/0"), &all), ERR_OK);
	assert_false(addr_block_has(&all, &a));
}

static void test_block_errors(void **state)
{
	static const struct {
		const char *text;
		enum err want;
	} rows[] = {
		{ "", ERR_SYNTAX },
		{ "/", ERR_SYNTAX },
		{ "/8", ERR_SYNTAX },
		{ "10.0.0.0/", ERR_SYNTAX },
		{ "10.0.0.0/8/", ERR_SYNTAX },
		{ "10.0.0.0/-1", ERR_SYNTAX },
		{ "10.0.0.0/33", ERR_RANGE },
		{ "::/129", ERR_RANGE },
		{ "10.0/8", ERR_SYNTAX },
		{ "10.0.0.0/4294967304", ERR_RANGE },
		{ "[::1]", ERR_SYNTAX },
		{ "10.0.0.1:80", ERR_SYNTAX },
		{ "localhost", ERR_SYNTAX },
		{ "unix:", ERR_SYNTAX },
		{ "unix/8", ERR_SYNTAX },
		{ " 10.0.0.0/8", ERR_SYNTAX },
		{ "10.0.0.0/255.0.0.0", ERR_SYNTAX },
		{ "*", ERR_SYNTAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr_block b = { .bits = 77 };
		enum err e = addr_block_parse(slice_of(rows[i].text), &b);
		check_row_int(rows[i].text, e, rows[i].want);
		check_row_int(rows[i].text, b.bits, 77);
	}
	struct addr_block b;
	assert_int_equal(addr_block_parse(SLICE("10.0.0.0\0/8"), &b), ERR_SYNTAX);
	assert_int_equal(addr_block_parse((struct slice){ NULL, 0 }, &b), ERR_SYNTAX);
}

static void test_block_has(void **state)
{
	static const struct {
		const char *block, *addr;
		bool want;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.255.255:1", true },
		{ "10.0.0.0/8", "11.0.0.0:1", false },
		{ "10.0.0.0/8", "9.255.255.255:1", false },
		{ "10.1.2.3/8", "10.9.9.9:1", true }, /* bits past the prefix mean nothing */
		{ "0.0.0.0/0", "255.1.2.3:1", true },
		{ "0.0.0.0/0", "[::1]:1", false },
		{ "192.168.3.4", "192.168.3.4:1", true },
		{ "192.168.3.4", "192.168.3.5:1", false },
		{ "192.168.3.4/31", "192.168.3.5:1", true },
		{ "192.168.3.4/31", "192.168.3.6:1", false },
		{ "192.168.128.0/17", "192.168.255.1:1", true },
		{ "192.168.128.0/17", "192.168.127.1:1", false },
		{ "10.0.0.0/9", "10.128.0.0:1", false },
		{ "10.0.0.0/8", "[::ffff:10.1.2.3]:1", true },
		{ "10.0.0.0/8", "[::ffff:11.1.2.3]:1", false },
		{ "::ffff:10.0.0.0/104", "10.1.2.3:1", true },
		{ "::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]:1", true },
		{ "::ffff:10.0.0.0/104", "11.1.2.3:1", false },
		{ "::ffff:0:0/96", "1.2.3.4:1", true },
		{ "::ffff:0:0/80", "[::1]:1", true }, /* more than the v4-mapped ones */
		{ "::ffff:0:0/80", "1.2.3.4:1", false },
		{ "::1", "[::1]:1", true },
		{ "::1", "[::2]:1", false },
		{ "::1", "0.0.0.1:1", false },
		{ "::/0", "[ffff::]:1", true },
		{ "::/0", "10.0.0.1:1", false },
		{ "::/0", "[::ffff:10.0.0.1]:1", false },
		{ "fd00::/7", "[fc12::1]:1", true },
		{ "fd00::/8", "[fc12::1]:1", false },
		{ "2001:db8::/33", "[2001:db8:7fff::1]:1", true },
		{ "2001:db8::/33", "[2001:db8:8000::1]:1", false },
		{ "unix", "unix:/x", true },
		{ "unix", "10.0.0.1:1", false },
		{ "unix", "[::1]:1", false },
		{ "::/0", "unix:/x", false },
		{ "0.0.0.0/0", "unix:/x", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct addr_block b;
		struct addr a;
		char row[128];
		snprintf(row, sizeof(row), "%s has %s", rows[i].block, rows[i].addr);
		check_row_int(row, addr_block_parse(slice_of(rows[i].block), &b), ERR_OK);
		check_row_int(row, addr_parse(slice_of(rows[i].addr), false, &a), ERR_OK);
		check_row_int(row, addr_block_has(&b, &a), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_bytes),
		cmocka_unit_test(test_made),
		cmocka_unit_test(test_format_host),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_unix_as_the_kernel_gives_it),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_unknown_family),
		cmocka_unit_test(test_block_errors),
		cmocka_unit_test(test_block_has),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
