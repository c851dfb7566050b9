/* A disk that fails, for the tests: loaded in front of the C library (LD_PRELOAD) it counts what a
 * process does to the files below one directory, and at the n-th call lets something happen.
 *
 *   OFFSET_FAULT_DIR   the directory; "-shm" files, which are no more than shared memory, do not count
 *   OFFSET_FAULT_ONLY  how names of files must begin, if not all count
 *   OFFSET_FAULT_AT    n, from 1
 *   OFFSET_FAULT_MODE  kill   the process ends before the call
 *                      torn   half of what is written, then the process ends
 *                      power  the process ends, and what was not synced is as it was before
 *                      once   the call fails with EIO
 *                      ever   this and every later call fail with EIO
 *                      full   this and every later write fail with ENOSPC
 *                      sync   while DIR/broken exists, syncs fail with EIO
 *                      space  while DIR/broken exists, writes fail with ENOSPC
 *
 * "ever" and "full" end when DIR/mended exists. When it happens DIR/fired is made; at the end of the
 * process DIR/calls holds the number of calls, DIR/syncs that of the syncs among them. Not for programs
 * with several writing threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls, syncs;
static int fired;

/* The path of a counted file, or NULL. */
static const char *path_of(int fd) {
    static char path[4096];
    char link[64];
    const char *dir = getenv("OFFSET_FAULT_DIR");
    if (!dir) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return NULL;
    path[length] = 0;
    size_t prefix = strlen(dir);
    if (strncmp(path, dir, prefix) || path[prefix] != '/') return NULL;
    const char *only = getenv("OFFSET_FAULT_ONLY");
    if (only && strncmp(path + prefix + 1, only, strlen(only))) return NULL;
    if (length > 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    return path;
}

static void file(const char *name, long number) {
    char path[4096], text[32];
    snprintf(path, sizeof path, "%s/%s", getenv("OFFSET_FAULT_DIR"), name);
    /* By the plain call: this is not the process's own. */
    static ssize_t (*plain)(int, const void *, size_t);
    if (!plain) plain = dlsym(RTLD_NEXT, "write");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return;
    int length = snprintf(text, sizeof text, "%ld", number);
    if (plain(fd, text, (size_t)length) != length) abort();
    close(fd);
}

static int exists(const char *name) {
    char path[4096];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", getenv("OFFSET_FAULT_DIR"), name);
    return !stat(path, &found);
}

/* What was written and not synced: how it was before. */
struct before {
    struct before *next;
    char path[512];
    off_t at, size;
    ssize_t length;
    char bytes[];
};
static struct before *unsynced;

static void remember(int fd, const char *path, off_t at, size_t count) {
    struct stat now;
    if (fstat(fd, &now)) abort();
    struct before *one = malloc(sizeof *one + count);
    if (!one || strlen(path) >= sizeof one->path) abort();
    strcpy(one->path, path);
    one->at = at;
    one->size = now.st_size;
    /* One that may only be written is read through its name. */
    int reader = open(path, O_RDONLY);
    one->length = reader < 0 ? 0 : pread(reader, one->bytes, count, at);
    if (reader >= 0) close(reader);
    one->next = unsynced;
    unsynced = one;
}

static void forget(const char *path) {
    struct before **at = &unsynced;
    while (*at) {
        if (strcmp((*at)->path, path)) {
            at = &(*at)->next;
        } else {
            struct before *gone = *at;
            *at = gone->next;
            free(gone);
        }
    }
}

static void lose_unsynced(void) {
    ssize_t (*plain)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    int (*cut)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    for (struct before *one = unsynced; one; one = one->next) {
        int fd = open(one->path, O_WRONLY);
        if (fd < 0) continue; /* Removed since. */
        if (one->length > 0 && plain(fd, one->bytes, (size_t)one->length, one->at) < 0) abort();
        if (cut(fd, one->size)) abort();
        close(fd);
    }
}

static void die(void) {
    file("fired", calls);
    raise(SIGKILL);
}

/* Counts a call; 0, or the error that it is to fail with. `half` is set where half is to be written
 * before the end. */
static int count(int writes, int *half) {
    const char *mode = getenv("OFFSET_FAULT_MODE"), *at = getenv("OFFSET_FAULT_AT");
    calls++;
    if (!mode) return 0;
    int now = at && calls == atol(at), later = at && calls >= atol(at);
    int error = 0;
    if (now && !strcmp(mode, "kill")) die();
    if (now && !strcmp(mode, "power")) {
        lose_unsynced();
        die();
    }
    if (now && !strcmp(mode, "torn")) {
        if (!writes) die();
        *half = 1;
        return 0;
    }
    if (now && !strcmp(mode, "once")) error = EIO;
    if (later && !strcmp(mode, "ever") && !exists("mended")) error = EIO;
    if (later && !strcmp(mode, "full") && writes && !exists("mended")) error = ENOSPC;
    if (!strcmp(mode, "sync") && !writes && exists("broken")) error = EIO;
    if (!strcmp(mode, "space") && writes && exists("broken")) error = ENOSPC;
    if (error && !fired) {
        fired = 1;
        file("fired", calls);
    }
    return error;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FAIL(error) \
    do { \
        errno = (error); \
        return -1; \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    NEXT(write);
    const char *path = path_of(fd);
    if (!path) return next(fd, bytes, length);
    int half = 0, error = count(1, &half);
    if (error) FAIL(error);
    off_t at = lseek(fd, 0, SEEK_CUR);
    remember(fd, path_of(fd), at < 0 ? 0 : at, length);
    if (half) {
        if (next(fd, bytes, length / 2) < 0) abort();
        die();
    }
    return next(fd, bytes, length);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *bytes, size_t length, offset at) { \
        NEXT(name); \
        if (!path_of(fd)) return next(fd, bytes, length, at); \
        int half = 0, error = count(1, &half); \
        if (error) FAIL(error); \
        remember(fd, path_of(fd), at, length); \
        if (half) { \
            if (next(fd, bytes, length / 2, at) < 0) abort(); \
            die(); \
        } \
        return next(fd, bytes, length, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        NEXT(name); \
        if (!path_of(fd)) return next(fd); \
        int half = 0, error = count(0, &half); \
        if (error) FAIL(error); \
        syncs++; \
        int done = next(fd); \
        if (!done) forget(path_of(fd)); \
        return done; \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name, offset) \
    int name(int fd, offset size) { \
        NEXT(name); \
        if (!path_of(fd)) return next(fd, size); \
        int half = 0, error = count(0, &half); \
        if (error) FAIL(error); \
        struct stat now; \
        if (fstat(fd, &now)) abort(); \
        off_t from = size < now.st_size ? size : now.st_size; \
        remember(fd, path_of(fd), from, (size_t)(now.st_size - from)); \
        return next(fd, size); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

__attribute__((destructor)) static void tell(void) {
    if (!getenv("OFFSET_FAULT_DIR")) return;
    file("calls", calls);
    file("syncs", syncs);
}
