/* Heads and bodies that the micro-benchmarks read and write. */
#ifndef DROVER_TESTS_SAMPLES_H
#define DROVER_TESTS_SAMPLES_H

#include "common/slice.h"

struct sample {
	const char *name;
	struct slice text;
};

/* A command-line client. */
#define SAMPLE_SMALL_FIELDS                   \
	"Host: 127.0.0.1:8080\r\n"            \
	"User-Agent: curl/7.88.1\r\n"         \
	"Accept: */*\r\n"                     \
	"Accept-Encoding: deflate, gzip\r\n"  \
	"Connection: keep-alive\r\n"

/* A page of a browser, with a session. */
#define SAMPLE_BROWSER_FIELDS                                                                  \
	"Host: shop.example.com\r\n"                                                           \
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" \
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"  \
	"*/*;q=0.8\r\n"                                                                        \
	"Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n"                                          \
	"Accept-Encoding: gzip, deflate, br\r\n"                                               \
	"Referer: https://shop.example.com/catalogue/shoes?page=3&sort=price\r\n"              \
	"Connection: keep-alive\r\n"                                                           \
	"Cookie: session=9f2c4e1ab07d4f6c8e33a1d0b5c7e9f1; theme=dark; consent=all; "          \
	"cart=3c59dc048e885024; visited=shoes%2Cbags%2Chats\r\n"                               \
	"Upgrade-Insecure-Requests: 1\r\n"                                                     \
	"Sec-Fetch-Dest: document\r\n"                                                         \
	"Sec-Fetch-Mode: navigate\r\n"                                                         \
	"Sec-Fetch-Site: same-origin\r\n"                                                      \
	"Sec-Fetch-User: ?1\r\n"                                                               \
	"If-None-Match: W/\"80-jhXk2Rw9w0L3u4mvpUw3GGgM1n0\"\r\n"                              \
	"Priority: u=0, i\r\n"

#define SAMPLE_CUSTOM(n) "X-Custom-Header-" #n ": some-reasonable-value-" #n "\r\n"
#define SAMPLE_20_FIELDS                                                                    \
	SAMPLE_CUSTOM(1) SAMPLE_CUSTOM(2) SAMPLE_CUSTOM(3) SAMPLE_CUSTOM(4) SAMPLE_CUSTOM(5) \
	SAMPLE_CUSTOM(6) SAMPLE_CUSTOM(7) SAMPLE_CUSTOM(8) SAMPLE_CUSTOM(9) SAMPLE_CUSTOM(10) \
	SAMPLE_CUSTOM(11) SAMPLE_CUSTOM(12) SAMPLE_CUSTOM(13) SAMPLE_CUSTOM(14)             \
	SAMPLE_CUSTOM(15) SAMPLE_CUSTOM(16) SAMPLE_CUSTOM(17) SAMPLE_CUSTOM(18)             \
	SAMPLE_CUSTOM(19) SAMPLE_CUSTOM(20)

#define SAMPLE_50_BYTES "name=0123456789abcdef; path=/a/b/c; k=0123456789; "
#define SAMPLE_500_BYTES                                                \
	SAMPLE_50_BYTES SAMPLE_50_BYTES SAMPLE_50_BYTES SAMPLE_50_BYTES \
	SAMPLE_50_BYTES SAMPLE_50_BYTES SAMPLE_50_BYTES SAMPLE_50_BYTES \
	SAMPLE_50_BYTES SAMPLE_50_BYTES

static const struct sample sample_requests[] = {
	{ "small", SLICE("GET / HTTP/1.1\r\n" SAMPLE_SMALL_FIELDS "\r\n") },
	{ "browser", SLICE("GET /catalogue/shoes/42?colour=red&size=9 HTTP/1.1\r\n"
			   SAMPLE_BROWSER_FIELDS "\r\n") },
	{ "large", SLICE("GET / HTTP/1.1\r\n" SAMPLE_SMALL_FIELDS SAMPLE_20_FIELDS
			 "Cookie: " SAMPLE_500_BYTES "\r\n\r\n") },
};

static const struct sample sample_replies[] = {
	{ "small", SLICE("HTTP/1.1 200 OK\r\n"
			 "Content-Type: text/plain\r\n"
			 "Content-Length: 128\r\n\r\n") },
	{ "express", SLICE("HTTP/1.1 200 OK\r\n"
			   "X-Powered-By: Express\r\n"
			   "Content-Type: application/json; charset=utf-8\r\n"
			   "Content-Length: 128\r\n"
			   "ETag: W/\"80-jhXk2Rw9w0L3u4mvpUw3GGgM1n0\"\r\n"
			   "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
			   "Connection: keep-alive\r\n"
			   "Keep-Alive: timeout=5\r\n\r\n") },
	{ "large", SLICE("HTTP/1.1 200 OK\r\n"
			 "Content-Type: text/plain\r\n"
			 "Content-Length: 128\r\n" SAMPLE_20_FIELDS
			 "Set-Cookie: " SAMPLE_500_BYTES "\r\n\r\n") },
};

#endif
