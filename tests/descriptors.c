/* Watches what a process does with descriptors, put before the C library with LD_PRELOAD. A fault
 * is a line in the file that DESCRIPTOR_FAULTS names: a number that is closed twice, or used or
 * waited for when it is closed, or closed by somebody else while it is guarded. Where Python has
 * faulthandler.register(SIGURG), its traceback follows. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NUMBERS 65536
#define REAL(name) ((__typeof__(&name))real(#name))
#define CALLER __builtin_return_address(0)

/* Of each number: whose code opened and closed it last, whether it is guarded, and whether it was
 * duplicated since. */
static struct {
  void *opened;
  void *closed;
  int guarded;
  int duplicated;
} numbers[NUMBERS];

static pid_t process;  /* a child between vfork and exec has our memory, and other descriptors */

__attribute__((constructor)) static void begin(void) { process = getpid(); }

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int ours(int fd) { return fd >= 0 && fd < NUMBERS && getpid() == process; }

static void who(char *text, size_t size, void *code) {
  Dl_info info;
  const char *file;
  if (code == NULL || dladdr(code, &info) == 0 || info.dli_fname == NULL) {
    snprintf(text, size, "nobody");
    return;
  }
  file = strrchr(info.dli_fname, '/');
  snprintf(text, size, "%s in %s", info.dli_sname ? info.dli_sname : "a function",
           file ? file + 1 : info.dli_fname);
}

static void fault(const char *what, int fd, void *caller) {
  char by[200], opened[200], closed[200], line[800];
  const char *path = getenv("DESCRIPTOR_FAULTS");
  int saved = errno, size, out;
  if (path == NULL)
    return;
  who(by, sizeof by, caller);
  who(opened, sizeof opened, numbers[fd].opened);
  who(closed, sizeof closed, numbers[fd].closed);
  size = snprintf(line, sizeof line, "%s: %d, by %s; last opened by %s, last closed by %s\n", what,
                  fd, by, opened, closed);
  out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (out < 0 || REAL(write)(out, line, size) != size)
    abort();
  REAL(close)(out);
  raise(SIGURG);  /* ignored unless somebody asked for it */
  errno = saved;
}

/* For the tests, by ctypes: from here on nobody may close this number. */

int descriptor_guard(int fd) {
  if (!ours(fd))
    return -1;
  if (numbers[fd].guarded)
    fault("guarded twice", fd, CALLER);
  numbers[fd].guarded = 1;
  return 0;
}

int descriptor_release(int fd) {
  if (!ours(fd))
    return -1;
  if (!numbers[fd].guarded)
    fault("closed before its owner was told", fd, CALLER);
  numbers[fd].guarded = 0;
  return 0;
}

/* -- what gives numbers */

static int opened(int fd, void *caller) {
  if (ours(fd)) {
    numbers[fd].opened = caller;
    numbers[fd].duplicated = 0;
  }
  return fd;
}

#define OPENS(name, parameters, arguments) \
  int name parameters { return opened(REAL(name) arguments, CALLER); }

OPENS(socket, (int domain, int type, int protocol), (domain, type, protocol))
OPENS(accept, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size))
OPENS(accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
      (fd, address, size, flags))
OPENS(dup, (int fd), (fd))
OPENS(epoll_create1, (int flags), (flags))
OPENS(eventfd, (unsigned int count, int flags), (count, flags))

static int opened_both(int error, const int ends[2], void *caller) {
  if (error == 0) {
    opened(ends[0], caller);
    opened(ends[1], caller);
  }
  return error;
}

int socketpair(int domain, int type, int protocol, int ends[2]) {
  return opened_both(REAL(socketpair)(domain, type, protocol, ends), ends, CALLER);
}

int pipe(int ends[2]) { return opened_both(REAL(pipe)(ends), ends, CALLER); }

int pipe2(int ends[2], int flags) { return opened_both(REAL(pipe2)(ends, flags), ends, CALLER); }

static int duplicates(int command) { return command == F_DUPFD || command == F_DUPFD_CLOEXEC; }

#define FCNTL(name)                                      \
  int name(int fd, int command, ...) {                   \
    va_list arguments;                                   \
    void *argument;                                      \
    int result;                                          \
    va_start(arguments, command);                        \
    argument = va_arg(arguments, void *);                \
    va_end(arguments);                                   \
    result = REAL(name)(fd, command, argument);          \
    if (duplicates(command)) {                           \
      opened(result, CALLER);                            \
      if (ours(fd))                                      \
        numbers[fd].duplicated = 1;                      \
    }                                                    \
    return result;                                       \
  }

FCNTL(fcntl)
FCNTL(fcntl64)

/* -- what takes them back */

static void closing(int fd, void *caller) {
  if (!ours(fd))
    return;
  if (numbers[fd].guarded)
    fault("closed by the wrong owner", fd, caller);
  numbers[fd].guarded = 0;
}

static int close_for(int fd, void *caller) {
  int error;
  closing(fd, caller);
  error = REAL(close)(fd);
  if (ours(fd)) {
    if (error != 0 && errno == EBADF)
      fault("closed twice", fd, caller);
    numbers[fd].closed = caller;
  }
  return error;
}

int close(int fd) { return close_for(fd, CALLER); }

/* libuv closes by system call. And it has changes of its epoll made by io_uring, which shows
 * nothing of them: it can do without. */
long syscall(long number, ...) {
  va_list arguments;
  long a[6];
  int i;
  va_start(arguments, number);
  for (i = 0; i < 6; i++)
    a[i] = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_close)
    return close_for((int)a[0], CALLER);
  if (number == SYS_io_uring_setup && getenv("DESCRIPTOR_NO_URING") != NULL) {
    errno = ENOSYS;
    return -1;
  }
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int dup2(int from, int to) {
  if (from != to)
    closing(to, CALLER);
  return opened(REAL(dup2)(from, to), CALLER);
}

int dup3(int from, int to, int flags) {
  closing(to, CALLER);
  return opened(REAL(dup3)(from, to, flags), CALLER);
}

/* -- what uses them */

/* Sets of the program's descriptors are told of those that it has closed, and say so: Python's epoll
 * objects, and those of the asyncio loop, which libuv polls by a duplicate. libuv must never be. */
static int is_libuv(void *code) {
  Dl_info info;
  const char *file;
  if (dladdr(code, &info) == 0 || info.dli_fname == NULL)
    return 0;
  file = strrchr(info.dli_fname, '/');  /* its folders may be called anything */
  file = file == NULL ? info.dli_fname : file + 1;
  return strncmp(file, "_uvbind.", 8) == 0 || strncmp(file, "libuv.", 6) == 0;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  int error = REAL(epoll_ctl)(epoll, operation, fd, event);
  if (error != 0 && errno == EBADF && ours(fd) && is_libuv(CALLER) &&
      !(ours(epoll) && numbers[epoll].duplicated))
    fault(operation == EPOLL_CTL_DEL ? "watched when it was closed" : "to be watched but closed", fd,
          CALLER);
  return error;
}

#define USES(type, name, parameters, arguments)     \
  type name parameters {                            \
    type result = REAL(name) arguments;             \
    if (result < 0 && errno == EBADF && ours(fd))   \
      fault(#name " when it was closed", fd, CALLER); \
    return result;                                  \
  }

USES(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
USES(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
USES(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count))
USES(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
USES(ssize_t, recvfrom,
     (int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length),
     (fd, data, size, flags, address, length))
USES(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
USES(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
USES(ssize_t, sendto,
     (int fd, const void *data, size_t size, int flags, const struct sockaddr *address,
      socklen_t length),
     (fd, data, size, flags, address, length))
USES(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
USES(int, shutdown, (int fd, int how), (fd, how))
USES(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size))
USES(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size))
