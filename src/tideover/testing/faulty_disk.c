/*
 * A disk that fails when told to: loaded into a process with LD_PRELOAD.
 *
 * FAULTY_DISK_UNDER names a directory; only files below it are meant. FAULTY_DISK_CONTROL names a
 * small file, read at each call, with lines "<call> <error> [<name>]": <call> is write, sync, size or
 * open, <error> is ENOSPC, EIO, EROFS, or a number of milliseconds to wait, and <name>, when there,
 * is how the file's name must end. No file, or an empty one: the disk is sound.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static int is_below(const char *path)
{
    const char *under = getenv("FAULTY_DISK_UNDER");
    size_t length = under ? strlen(under) : 0;

    return length && strncmp(path, under, length) == 0 && path[length] == '/';
}

static int ends_with(const char *path, const char *end)
{
    size_t a = strlen(path), b = strlen(end);

    return a >= b && strcmp(path + a - b, end) == 0;
}

static int error_number(const char *name)
{
    if (!strcmp(name, "ENOSPC"))
        return ENOSPC;
    if (!strcmp(name, "EROFS"))
        return EROFS;
    return strcmp(name, "EIO") ? 0 : EIO;
}

static void wait_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

/* The error for this call on this path, or 0; waits when that is what the control file says. */
static int fault(const char *call, const char *path)
{
    const char *control = getenv("FAULTY_DISK_CONTROL");
    char text[512], *line, *rest = text;
    ssize_t length;
    int fd;

    if (!control || !is_below(path))
        return 0;
    fd = REAL(open)(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    while ((line = strsep(&rest, "\n"))) {
        char kind[16], what[16], name[256] = "";

        if (sscanf(line, "%15s %15s %255s", kind, what, name) < 2)
            continue;
        if (strcmp(kind, call) || !ends_with(path, name))
            continue;
        if (error_number(what))
            return error_number(what);
        wait_ms(atol(what));
    }
    return 0;
}

static int fault_fd(const char *call, int fd)
{
    char link[64], path[PATH_MAX];
    int saved = errno;
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0)
        return 0;
    path[length] = 0;
    return fault(call, path);
}

#define FAIL_IF(found) \
    do { \
        int error_ = (found); \
        if (error_) { \
            errno = error_; \
            return -1; \
        } \
    } while (0)

ssize_t write(int fd, const void *data, size_t size)
{
    FAIL_IF(fault_fd("write", fd));
    return REAL(write)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    FAIL_IF(fault_fd("write", fd));
    return REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    FAIL_IF(fault_fd("write", fd));
    return REAL(pwrite64)(fd, data, size, at);
}

int fsync(int fd)
{
    FAIL_IF(fault_fd("sync", fd));
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    FAIL_IF(fault_fd("sync", fd));
    return REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t size)
{
    FAIL_IF(fault_fd("size", fd));
    return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    FAIL_IF(fault_fd("size", fd));
    return REAL(ftruncate64)(fd, size);
}

/* Opening fails only when it would write. */
static int fault_open(const char *path, int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY ? 0 : fault("open", path);
}

static mode_t mode_of(int flags, va_list *more)
{
    return flags & O_CREAT ? va_arg(*more, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, &more);
    va_end(more);
    FAIL_IF(fault_open(path, flags));
    return REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, &more);
    va_end(more);
    FAIL_IF(fault_open(path, flags));
    return REAL(open64)(path, flags, mode);
}
