/* The small parsers: addresses, blocks of them, authorities, numbers, lists.  The first
 * byte chooses one, the rest is its text. */
#include "common/addr.h"
#include "common/http_guard.h"
#include "fuzz/reading.h"

static void fuzz_address(struct slice s, bool port_zero)
{
	struct addr a, b;
	char text[ADDR_TEXT_MAX], host[ADDR_TEXT_MAX];

	if (addr_parse(s, port_zero, &a) != ERR_OK)
		return;
	FUZZ_CHECK(port_zero || addr_is_unix(&a) || addr_port(&a), "port 0");
	addr_format(&a, text);
	struct addr_host h = addr_host_of(&a);
	FUZZ_CHECK(addr_format_host(&h, host) == strlen(host) && host[0], "host \"%s\"", host);
	FUZZ_CHECK(addr_parse(slice_of(text), port_zero, &b) == ERR_OK && addr_equal(&a, &b) &&
			   addr_equal(&b, &a),
		   "\"%.*s\" is printed as \"%s\" and read as another", S(s), text);
}

static void fuzz_block(struct slice s)
{
	static const char *const peers[] = { "127.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.1]:1",
					     "10.0.0.1:1", "unix:/a" };
	struct addr_block block;
	struct addr a;

	if (addr_block_parse(s, &block) != ERR_OK)
		return;
	FUZZ_CHECK(block.family_unix || block.bits <= (block.is_v6 ? 128 : 32), "%u bits",
		   block.bits);
	for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
		if (addr_parse(slice_of(peers[i]), false, &a))
			abort();
		bool has = addr_block_has(&block, &a);
		FUZZ_CHECK(block.family_unix ? has == addr_is_unix(&a) : !(has && addr_is_unix(&a)),
			   "%.*s has %s", S(s), peers[i]);
	}
}

/* What we take for an authority, llhttp takes for one. */
static void fuzz_authority(struct slice s)
{
	static struct reading r;
	struct fuzz_bytes b = { 0 };

	if (!http_authority_valid(s))
		return;
	fuzz_append(&b, "GET http://", 11);
	fuzz_append(&b, s.p, s.n);
	fuzz_append(&b, "/ HTTP/1.1\r\nHost: ", 18);
	fuzz_append(&b, s.p, s.n);
	fuzz_append(&b, "\r\n\r\n", 4);
	reading_take(&r, b.p, b.n, READ_REQUEST, false);
	FUZZ_CHECK(r.whole && r.n_fields == 1, "llhttp refuses the authority \"%.*s\": %s", S(s),
		   r.refused ? r.refused : "");
	reading_fini(&r);
	free(b.p);
}

static void fuzz_number(struct slice s)
{
	unsigned __int128 want = 0;
	uint64_t max = s.n ? (uint64_t)1 << ((unsigned char)s.p[0] & 63) : 0, got;
	bool digits = s.n > 0, large = false;

	for (size_t i = 0; i < s.n; i++) {
		digits &= s.p[i] >= '0' && s.p[i] <= '9';
		if (digits)
			want = want * 10 + (unsigned)(s.p[i] - '0');
		large |= want > max;
		if (large)
			want = (unsigned __int128)max + 1;
	}
	enum err e = slice_to_u64(s, max, &got);
	FUZZ_CHECK((e == ERR_OK) == (digits && !large), "\"%.*s\" up to %llu: %s", S(s),
		   (unsigned long long)max, err_text(e));
	FUZZ_CHECK(e || got == want, "\"%.*s\" is %llu", S(s), (unsigned long long)got);
}

static void fuzz_list(struct slice s)
{
	struct slice rest = s, item;

	while (slice_next_item(&rest, &item)) {
		FUZZ_CHECK(item.n && item.p >= s.p && item.p + item.n <= s.p + s.n,
			   "an item outside the list");
		FUZZ_CHECK(slice_eq(item, slice_trim(item)), "\"%.*s\" is not trimmed", S(item));
		FUZZ_CHECK(memchr(item.p, '"', item.n) || !memchr(item.p, ',', item.n),
			   "\"%.*s\" is two items", S(item));
		FUZZ_CHECK(rest.p + rest.n == s.p + s.n && rest.p >= item.p + item.n,
			   "the rest moved");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n-- < 1)
		return 0;
	unsigned kind = *data++;
	char *p = fuzz_copy(data, n);
	struct slice s = { p, n };

	switch (kind % 6) {
	case 0: fuzz_address(s, false); break;
	case 1: fuzz_address(s, true); break;
	case 2: fuzz_block(s); break;
	case 3: fuzz_authority(s); break;
	case 4: fuzz_number(s); break;
	default: fuzz_list(s); break;
	}
	free(p);
	return 0;
}
