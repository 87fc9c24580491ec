/* The calls of Linux that libuv gets. The linker has the libuv that is compiled in call these functions
 * instead of the C library's (-Wl,--wrap, build_ffi.py), which costs nothing while all goes well:
 *
 * - A descriptor is moved above 2. libuv never closes 0 to 2, and what Python prints would go into
 *   a connection.
 * - libuv aborts when its table of descriptors cannot grow. The table grows here, as soon as there
 *   is a descriptor for it; without memory for that there is no descriptor either.
 * - libuv aborts when its first loop finds no room for the pipe of all signals. The pipe is made
 *   before, and libuv gets it here.
 * - epoll_ctl: watching.c.
 * - libuv's ring of io_uring, through which it would call epoll_ctl otherwise, is not made: libuv
 *   aborts when that fails, and nothing of ours runs in between. */
#include "uvbind.h"

#ifndef _WIN32
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Returns a number above 2 for a new descriptor, or closes it and returns -1. */
int uvb_above_2(int fd) {
  int high, saved;

  if (fd < 0 || fd > 2)
    return fd;
  high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  saved = errno;
  close(fd);
  errno = saved;
  return high;
}
#else
int uvb_above_2(int fd) { return fd; }
#endif

#if UVB_WRAPS

#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

void *uv__realloc(void *memory, size_t size); /* libuv's own, as the table is libuv's to free */

static _Thread_local uv_loop_t *current;
static _Thread_local int signal_pipe[2] = {-1, -1};

uv_loop_t *uvb_set_current(uv_loop_t *loop) {
  uv_loop_t *before = current;
  current = loop;
  return before;
}

/* libuv keeps two pointers of its own behind the end of the table. */
int uvb_room_for(uv_loop_t *loop, int fd) {
  unsigned int before = loop->nwatchers, size = 16;
  uv__io_t **table, *last[2] = {NULL, NULL};

  if (fd < 0 || (unsigned int)fd < before)
    return 0;
  while (size < (unsigned int)fd + 3)
    size *= 2;
  if (loop->watchers != NULL)
    memcpy(last, loop->watchers + before, sizeof last);
  table = uv__realloc(loop->watchers, size * sizeof *table);
  if (table == NULL)
    return UV_ENOMEM;
  memset(table + before, 0, (size - before) * sizeof *table);
  memcpy(table + size - 2, last, sizeof last);
  loop->watchers = table;
  loop->nwatchers = size - 2;
  return 0;
}

static int new_descriptor(int fd) {
  fd = uvb_above_2(fd);
  if (fd != -1 && current != NULL && uvb_room_for(current, fd) != 0) {
    close(fd);
    errno = ENOMEM;
    return -1;
  }
  return fd;
}

static int new_pair(int ends[2]) {
  ends[0] = new_descriptor(ends[0]);
  if (ends[0] != -1) {
    ends[1] = new_descriptor(ends[1]);
    if (ends[1] != -1)
      return 0;
  }
  int saved = errno;
  close(ends[0] != -1 ? ends[0] : ends[1]);
  errno = saved;
  return -1;
}

/* The linker's names for libuv's calls, and the C library's functions. */
#define WRAPPED(type, name, ...)       \
  type __real_##name(__VA_ARGS__);     \
  type __wrap_##name(__VA_ARGS__);     \
  type __wrap_##name(__VA_ARGS__)

WRAPPED(int, socket, int domain, int type, int protocol) {
  return new_descriptor(__real_socket(domain, type, protocol));
}

WRAPPED(int, accept4, int fd, struct sockaddr *address, socklen_t *size, int flags) {
  return new_descriptor(__real_accept4(fd, address, size, flags));
}

WRAPPED(int, epoll_create1, int flags) { return new_descriptor(__real_epoll_create1(flags)); }

WRAPPED(int, eventfd, unsigned int count, int flags) {
  return new_descriptor(__real_eventfd(count, flags));
}

WRAPPED(int, socketpair, int domain, int type, int protocol, int ends[2]) {
  return __real_socketpair(domain, type, protocol, ends) == 0 ? new_pair(ends) : -1;
}

WRAPPED(int, pipe2, int ends[2], int flags) {
  if (signal_pipe[0] != -1 && !(flags & O_NONBLOCK)) {
    memcpy(ends, signal_pipe, sizeof signal_pipe);
    signal_pipe[0] = signal_pipe[1] = -1;
    return 0;
  }
  return __real_pipe2(ends, flags) == 0 ? new_pair(ends) : -1;
}

#ifdef __GLIBC__
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...) {
  va_list arguments;
  unsigned int mode = 0;

  va_start(arguments, flags);
  if (flags & (O_CREAT | __O_TMPFILE))
    mode = va_arg(arguments, unsigned int);
  va_end(arguments);
  return uvb_above_2(__real_open64(path, flags, mode));
}
#endif

enum {
  IO_URING_SETUP = 425, /* a system call of that number on every machine */
  SETUP_FLAGS = 2,      /* its second argument is a struct whose third number is these */
  SETUP_SQPOLL = 2      /* the ring of Loop.configure(use_io_uring_sqpoll=True) */
};

/* uv_interface_addresses compares the names that it has copied, whether there was memory or not. */
static char no_memory[] = "";
static _Thread_local int copies_names;

int uvb_interfaces(uv_interface_address_t **found, int *count) {
  int err;

  copies_names = 1;
  err = uv_interface_addresses(found, count);
  copies_names = 0;
  for (int i = 0; err == 0 && i < *count; i++)
    if ((*found)[i].name == no_memory)
      (*found)[i].name = NULL;
  return err;
}

WRAPPED(char *, uv__strdup, const char *text) {
  char *copy = __real_uv__strdup(text);
  return copy == NULL && copies_names ? no_memory : copy;
}

/* libuv makes system calls of up to six arguments, and gives each of them. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...) {
  va_list arguments;
  long a[6];

  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    a[i] = va_arg(arguments, long);
  va_end(arguments);
  if (number == IO_URING_SETUP && !(((const unsigned int *)a[1])[SETUP_FLAGS] & SETUP_SQPOLL)) {
    errno = ENOSYS;
    return -1;
  }
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* uv_loop_init, which cannot abort. */
static int loop_init(uv_loop_t *loop) {
  static _Atomic int has_signals; /* a loop has been made in this process */
  uv_loop_t *before;
  int err;

  if (!has_signals && (__real_pipe2(signal_pipe, O_CLOEXEC) != 0 || new_pair(signal_pipe) != 0)) {
    signal_pipe[0] = signal_pipe[1] = -1;
    return uv_translate_sys_error(errno);
  }
  before = uvb_set_current(loop);
  err = uv_loop_init(loop);
  uvb_set_current(before);
  if (err == 0)
    has_signals = 1;
  if (signal_pipe[0] != -1) { /* another thread was first, or libuv did not get as far */
    close(signal_pipe[0]);
    close(signal_pipe[1]);
    signal_pipe[0] = signal_pipe[1] = -1;
  }
  return err;
}

#else

int uvb_interfaces(uv_interface_address_t **found, int *count) {
  return uv_interface_addresses(found, count);
}

uv_loop_t *uvb_set_current(uv_loop_t *loop) {
  (void)loop;
  return NULL;
}

int uvb_room_for(uv_loop_t *loop, int fd) {
  (void)loop;
  (void)fd;
  return 0;
}

#ifdef _WIN32
static int loop_init(uv_loop_t *loop) { return uv_loop_init(loop); }
#else

/* Takes those of 0 to 2 that are free, for libuv makes descriptors that it would not close. */
static void take_low(int taken[3]) {
  for (int i = 0; i < 3; i++) {
    taken[i] = -1;
    if (fcntl(i, F_GETFD) == -1 && errno == EBADF)
      taken[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
}

/* libuv aborts when there is no descriptor left for the pipe that its first loop makes for
 * the signals of the process, after two others. So it is tried whether there is room. */
static int loop_init(uv_loop_t *loop) {
  uv_file probe[4];
  int taken[3], err;

  take_low(taken);
  err = uv_pipe(probe, 0, 0);
  if (err == 0) {
    err = uv_pipe(probe + 2, 0, 0);
    for (int i = 0; i < (err == 0 ? 4 : 2); i++)
      close(probe[i]);
  }
  if (err == 0)
    err = uv_loop_init(loop);
  for (int i = 0; i < 3; i++)
    if (taken[i] != -1)
      close(taken[i]);
  return err;
}
#endif

#endif

/* Up to 1.50 libuv forgets the poll set of a loop that could not get the rest. All fields are 0
 * when it did not get as far as to make one. */
int uvb_plain_loop_init(uv_loop_t *loop) {
  int err;

  memset(loop, 0, sizeof *loop);
  err = loop_init(loop);
#ifndef _WIN32
  if (err != 0 && !UVB_HAS(1, 51) && loop->signal_pipefd[0] == -1 && loop->backend_fd != -1)
    close(loop->backend_fd);
#endif
  return err;
}
