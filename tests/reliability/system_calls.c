/* Lets one chosen system call of uvbind's extension fail, or of a libuv of the system's. The test
 * puts this library before the C library with LD_PRELOAD and calls fail_call() through ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *chosen;  /* the function that is to fail, NULL for none */
static int left;            /* its calls until then */
static int error;           /* the errno that it gets */
static int failed;          /* whether it has failed */
static pthread_t thread;    /* only calls of the thread that asked for it count */

void fail_call(const char *name, int nth, int with) {
  chosen = NULL;
  left = nth;
  error = with;
  failed = 0;
  thread = pthread_self();
  chosen = name;
}

/* Ends it; returns whether the call has failed. */
int fail_no_call(void) {
  chosen = NULL;
  return failed;
}

static int is_libuv(void *caller) {
  Dl_info info;
  const char *file;
  if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
    return 0;
  file = strrchr(info.dli_fname, '/');
  file = file ? file + 1 : info.dli_fname;
  return strncmp(file, "_uvbind", 7) == 0 || strncmp(file, "libuv", 5) == 0;
}

static int fails(const char *name, void *caller) {
  if (chosen == NULL || strcmp(name, chosen) != 0 || !pthread_equal(thread, pthread_self()) ||
      !is_libuv(caller) || --left != 0)
    return 0;
  failed = 1;
  errno = error;
  return 1;
}

#define CALL(result, name, parameters, ...)                                              \
  result name parameters {                                                               \
    static result(*real) parameters;                                                     \
    if (real == NULL)                                                                    \
      *(void **)&real = dlsym(RTLD_NEXT, #name);                                         \
    return fails(#name, __builtin_return_address(0)) ? (result)-1 : real(__VA_ARGS__);   \
  }

CALL(int, socket, (int a, int b, int c), a, b, c)
CALL(int, socketpair, (int a, int b, int c, int d[2]), a, b, c, d)
CALL(int, accept4, (int a, struct sockaddr *b, socklen_t *c, int d), a, b, c, d)
CALL(int, accept, (int a, struct sockaddr *b, socklen_t *c), a, b, c)
CALL(int, bind, (int a, const struct sockaddr *b, socklen_t c), a, b, c)
CALL(int, connect, (int a, const struct sockaddr *b, socklen_t c), a, b, c)
CALL(int, listen, (int a, int b), a, b)
CALL(int, shutdown, (int a, int b), a, b)
CALL(int, getsockname, (int a, struct sockaddr *b, socklen_t *c), a, b, c)
CALL(int, getpeername, (int a, struct sockaddr *b, socklen_t *c), a, b, c)
CALL(int, getsockopt, (int a, int b, int c, void *d, socklen_t *e), a, b, c, d, e)
CALL(int, setsockopt, (int a, int b, int c, const void *d, socklen_t e), a, b, c, d, e)
CALL(ssize_t, read, (int a, void *b, size_t c), a, b, c)
CALL(ssize_t, readv, (int a, const struct iovec *b, int c), a, b, c)
CALL(ssize_t, recv, (int a, void *b, size_t c, int d), a, b, c, d)
CALL(ssize_t, recvfrom, (int a, void *b, size_t c, int d, struct sockaddr *e, socklen_t *f), a, b,
     c, d, e, f)
CALL(ssize_t, recvmsg, (int a, struct msghdr *b, int c), a, b, c)
CALL(int, recvmmsg, (int a, struct mmsghdr *b, unsigned c, int d, struct timespec *e), a, b, c, d, e)
CALL(ssize_t, write, (int a, const void *b, size_t c), a, b, c)
CALL(ssize_t, writev, (int a, const struct iovec *b, int c), a, b, c)
CALL(ssize_t, send, (int a, const void *b, size_t c, int d), a, b, c, d)
CALL(ssize_t, sendto, (int a, const void *b, size_t c, int d, const struct sockaddr *e, socklen_t f),
     a, b, c, d, e, f)
CALL(ssize_t, sendmsg, (int a, const struct msghdr *b, int c), a, b, c)
CALL(int, sendmmsg, (int a, struct mmsghdr *b, unsigned c, int d), a, b, c, d)
CALL(int, dup, (int a), a)
CALL(int, dup2, (int a, int b), a, b)
CALL(int, dup3, (int a, int b, int c), a, b, c)
CALL(int, pipe2, (int a[2], int b), a, b)
CALL(int, eventfd, (unsigned a, int b), a, b)
CALL(int, epoll_create1, (int a), a)
CALL(int, epoll_ctl, (int a, int b, int c, struct epoll_event *d), a, b, c, d)
CALL(int, epoll_wait, (int a, struct epoll_event *b, int c, int d), a, b, c, d)
CALL(int, epoll_pwait, (int a, struct epoll_event *b, int c, int d, const sigset_t *e), a, b, c, d, e)

/* The two that take a further argument or none: it is a word in both cases. */
#define CALL_WITH_WORD(name, second)                                                     \
  int name(int a, second b, ...) {                                                       \
    static int (*real)(int, second, ...);                                                \
    va_list arguments;                                                                   \
    va_start(arguments, b);                                                              \
    void *word = va_arg(arguments, void *);                                              \
    va_end(arguments);                                                                   \
    if (real == NULL)                                                                    \
      *(void **)&real = dlsym(RTLD_NEXT, #name);                                         \
    return fails(#name, __builtin_return_address(0)) ? -1 : real(a, b, word);            \
  }

CALL_WITH_WORD(fcntl, int)
CALL_WITH_WORD(fcntl64, int)
CALL_WITH_WORD(ioctl, unsigned long)

/* libuv goes through epoll_ctl() for every descriptor when it cannot have an io_uring. */
long syscall(long number, ...) {
  static long (*real)(long, ...);
  long words[6];
  va_list arguments;
  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    words[i] = va_arg(arguments, long);
  va_end(arguments);
  if (real == NULL)
    *(void **)&real = dlsym(RTLD_NEXT, "syscall");
#ifdef SYS_io_uring_setup
  if (number == SYS_io_uring_setup) {
    errno = EPERM;
    return -1;
  }
#endif
  return real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
