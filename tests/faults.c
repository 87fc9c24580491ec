/* Makes calls of the extension fail, put before the C library with LD_PRELOAD. A test arms it by
 * ctypes; what other code calls goes through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static int is_in(void *caller, const char *name) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
         strstr(info.dli_fname, name) != NULL;
}

static int of_extension(void *caller) { return is_in(caller, "_uvbind"); }

static int allocation; /* which of the next fails, 0 for none */

void fail_allocation(int number) { allocation = number; }

static int fails(int of_ours) {
  if (allocation == 0 || !of_ours || --allocation > 0)
    return 0;
  errno = ENOMEM;
  return 1;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

/* Of the extension with the libuv in it, or of the system's libuv. */
static int of_either(void *caller) { return of_extension(caller) || is_in(caller, "/libuv.so"); }

void *malloc(size_t size) {
  return fails(of_either(__builtin_return_address(0))) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  return fails(of_either(__builtin_return_address(0))) ? NULL : __libc_calloc(count, size);
}

/* Not of the system's libuv, which calls abort() when a table of descriptors cannot grow. */
void *realloc(void *memory, size_t size) {
  return fails(of_extension(__builtin_return_address(0))) ? NULL : __libc_realloc(memory, size);
}

static int watched; /* the descriptor that is not to be watched, 0 for none */
static int refusals, refusal;

void refuse_to_watch(int fd, int count, int error) {
  watched = fd;
  refusals = count;
  refusal = error;
}

int refusals_left(void) { return refusals; }

/* An event without its descriptor is a trial of libuv's. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  int (*real)(int, int, int, struct epoll_event *) = dlsym(RTLD_NEXT, "epoll_ctl");
  if (operation != EPOLL_CTL_DEL && refusals > 0 && (watched == fd || watched == -1) &&
      event->data.fd == fd && of_extension(__builtin_return_address(0))) {
    refusals--;
    errno = refusal;
    return -1;
  }
  return real(epoll, operation, fd, event);
}
