/* A disk that fails on demand, for tests: preloaded, it fails writes or syncs while the file FAILING_DISK names holds
 * "write" or "sync". Only files with .db in their path fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int descriptor, const char *what) {
    char link[64], path[4096], mode[8] = "";
    const char *control = getenv("FAILING_DISK");
    FILE *file = control ? fopen(control, "r") : NULL;
    if (!file) return 0;
    if (!fgets(mode, sizeof mode, file)) mode[0] = '\0';
    fclose(file);
    if (strcmp(mode, what) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return strstr(path, ".db") != NULL;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    if (fails(descriptor, "write")) { errno = ENOSPC; return -1; }
    return REAL(pwrite64)(descriptor, data, size, offset);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    if (fails(descriptor, "write")) { errno = ENOSPC; return -1; }
    return REAL(pwrite)(descriptor, data, size, offset);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    if (fails(descriptor, "write")) { errno = EIO; return -1; }
    return REAL(write)(descriptor, data, size);
}

int fsync(int descriptor) {
    if (fails(descriptor, "sync")) { errno = EIO; return -1; }
    return REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
    if (fails(descriptor, "sync")) { errno = EIO; return -1; }
    return REAL(fdatasync)(descriptor);
}
