/* In programs that AddressSanitizer watches, and in no other: what the search for leaks at a
 * process's end takes for its roots.
 *
 * By itself it looks for pointers in the writable memory of everything that is loaded, and by
 * far the most of that, 5.6 MB, are the tables of the sanitizer's own library: some 45 ms of
 * processor time for each process, and a test with one drover ends six.  So all that is
 * loaded is named here, but for that library; it holds nothing that belongs to us. */
#include <link.h>
#include <sanitizer/lsan_interface.h>
#include <string.h>

const char *__lsan_default_options(void);

/* Called by the sanitizer when it starts; LSAN_OPTIONS still has the last word. */
const char *__lsan_default_options(void)
{
	return "use_globals=0";
}

static int name_object(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size, (void)unused;
	if (strstr(object->dlpi_name, "/libasan.so"))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		if (part->p_type == PT_LOAD && part->p_flags & PF_W)
			__lsan_register_root_region((const char *)object->dlpi_addr + part->p_vaddr, part->p_memsz);
	}
	return 0;
}

__attribute__((constructor)) static void name_roots(void)
{
	dl_iterate_phdr(name_object, NULL);
}
