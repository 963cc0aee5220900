/* Reading a page of lines; in the monitor.  See page.h. */
#include "balancer/board/page.h"

const struct page_line *page_next(const struct page *p, size_t bytes, size_t *offset,
				  struct slice *ret_text)
{
	size_t at = *offset ? *offset : sizeof(*p);

	if (at > bytes || bytes - at < sizeof(struct page_line))
		return NULL;
	const char *bytes_at = (const char *)p + at;
	const struct page_line *line = (const void *)bytes_at;
	if (page_line_bytes(line->n) > bytes - at)
		return NULL;
	*ret_text = (struct slice){ bytes_at + sizeof(*line), line->n };
	*offset = at + page_line_bytes(line->n);
	return line;
}

enum err page_view(const void *data, size_t bytes, const struct page **ret_page)
{
	const struct page *p = data;
	size_t offset = 0;
	uint32_t n = 0;
	struct slice text;

	if (bytes < sizeof(*p) || p->stamp != PAGE_STAMP)
		return ERR_PROTOCOL;
	while (page_next(p, bytes, &offset, &text))
		n++;
	if (n != p->n_lines || (n ? offset : sizeof(*p)) != bytes)
		return ERR_PROTOCOL;
	*ret_page = p;
	return ERR_OK;
}
