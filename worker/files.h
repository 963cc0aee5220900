/* Files from a directory. */
#ifndef DROVER_WORKER_FILES_H
#define DROVER_WORKER_FILES_H

/* Opens the directory to serve from, for settings.root.  -1 with errno; ENOSYS
 * or EPERM where the kernel cannot keep lookups inside it (openat2, Linux 5.6). */
int files_open_root(const char *directory);

#endif
