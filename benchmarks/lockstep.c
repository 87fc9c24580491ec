/* Preloaded into a program under callgrind, so that it does the same in each run, and is counted
   only in part.

   In lockstep with a load (UVBIND_IDLE and UVBIND_GO name two pipes): when the program has nothing
   to do and is about to wait for events, it writes a byte to the one and waits for a byte from the
   other: '+' begins to count, '-' ends it, '.' does nothing but let it go on. Meanwhile the load
   sends all that the next turn of the program's loop shall find.

   With a clock of its own (UVBIND_CLOCK): each reading of the monotonic clock is a microsecond
   later than the one before, and a wait for events ends at once, as late as it was to last. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <valgrind/callgrind.h>

enum { FAILED = 70, READING_NS = 1000, MS = 1000000, SECOND = 1000000000 };

static int idle = -1, go = -1, in_lockstep, own_clock;
static int64_t now_ns = SECOND;

void uvbind_count(void) { CALLGRIND_START_INSTRUMENTATION; }

/* The counts go to a file of their own, and the next begin at 0. */
void uvbind_counted(void)
{
    CALLGRIND_DUMP_STATS;
    CALLGRIND_STOP_INSTRUMENTATION;
}

static int pipe_named(const char *variable, int flags)
{
    const char *path = getenv(variable);
    int fd = path == NULL ? -1 : open(path, flags | O_CLOEXEC);
    if (path != NULL && fd < 0)
        _exit(FAILED);
    return fd;
}

__attribute__((constructor)) static void find(void)
{
    if (RUNNING_ON_VALGRIND) { /* not in valgrind's launcher */
        idle = pipe_named("UVBIND_IDLE", O_WRONLY);
        go = pipe_named("UVBIND_GO", O_RDONLY);
        own_clock = getenv("UVBIND_CLOCK") != NULL;
    }
}

/* Starting a server may take several turns of its loop. The load's first byte says that it knows
   of the server, and is there. */
static int load_is_there(int epoll, int timeout_ms)
{
    struct pollfd either[] = {{.fd = epoll, .events = POLLIN}, {.fd = go, .events = POLLIN}};
    char word;
    if (!in_lockstep && poll(either, 2, timeout_ms) > 0 && either[1].revents != 0)
        in_lockstep = read(go, &word, 1) == 1;
    return in_lockstep;
}

static void wait_for_load(void)
{
    char word;
    do {
        if (write(idle, "", 1) != 1 || read(go, &word, 1) != 1)
            _exit(FAILED);
        if (word == '+')
            uvbind_count();
        if (word == '-')
            uvbind_counted();
    } while (word == '-'); /* the load wants to know when that is done */
}

static int system_epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout_ms,
                              const sigset_t *mask)
{
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, timeout_ms, mask, _NSIG / 8);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout_ms,
                const sigset_t *mask)
{
    if (timeout_ms == 0 || (idle < 0 && !own_clock))
        return system_epoll_pwait(epoll, events, count, timeout_ms, mask);
    int found = system_epoll_pwait(epoll, events, count, 0, mask);
    if (found != 0)
        return found;
    if (own_clock && timeout_ms > 0) {
        now_ns += (int64_t)timeout_ms * MS;
        return 0;
    }
    if (idle >= 0 && load_is_there(epoll, timeout_ms))
        wait_for_load();
    return system_epoll_pwait(epoll, events, count, timeout_ms, mask);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    return epoll_pwait(epoll, events, count, timeout_ms, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (!own_clock || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE))
        return (int)syscall(SYS_clock_gettime, clock, time);
    now_ns += READING_NS;
    time->tv_sec = now_ns / SECOND;
    time->tv_nsec = now_ns % SECOND;
    return 0;
}
