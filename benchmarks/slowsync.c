/* Makes each fsync and fdatasync SLOWSYNC_MS milliseconds slower: a disk that really flushes.
   Preloaded into the servers under test by --fsync-delay-ms. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void wait_a_little(void)
{
    struct timespec pause = {SLOWSYNC_MS / 1000, SLOWSYNC_MS % 1000 * 1000000L};
    nanosleep(&pause, 0);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_a_little();
    return real(fd);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_a_little();
    return real(fd);
}
