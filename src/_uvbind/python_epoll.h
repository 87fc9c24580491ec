/* Sets of descriptors of the program's, on CPython: an epoll of its own, which libuv polls. */
#ifndef UVBIND_PYTHON_EPOLL_H
#define UVBIND_PYTHON_EPOLL_H

#include "python_scheduler.h"

#if !defined(PYPY_VERSION) && defined(__linux__)
#define UVB_HAS_EPOLL 1

#include <sys/epoll.h>

enum { UVB_EPOLL_AT_ONCE = 512 }; /* events; the others come in the next turn */

typedef struct {
  uvb_scheduler *loop; /* owned; NULL when the garbage collector has taken it */
  int fd;              /* -1 when it is closed */
} uvb_epoll;

/* Makes the set for the loop in `args`; -1 with an exception set. */
int uvb_epoll_init(uvb_epoll *set, PyObject *args);
void uvb_epoll_close(uvb_epoll *set);
int uvb_epoll_opened(const uvb_epoll *set);
/* Whether a descriptor may be watched now; 0 with the exception of a closed or a forked loop set. */
int uvb_epoll_usable(const uvb_epoll *set);
/* Whether `object` is the number of a descriptor; 0 with a ValueError set. */
int uvb_epoll_number(PyObject *object, int *fd);
/* Has a table by descriptor have a place for `fd`; 0 with an exception set. */
int uvb_epoll_grow(void **table, size_t *room, size_t size, int fd);
/* The events that are there; none after a failure. */
int uvb_epoll_poll(const uvb_epoll *set, struct epoll_event *found);
/* (object or None, object or None) */
PyObject *uvb_epoll_pair(PyObject *const *objects);
#else
#define UVB_HAS_EPOLL 0
#endif

#endif
