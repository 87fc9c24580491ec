/* What the sets of python_readiness.c and python_waits.c share. */
#include "python_epoll.h"

#if UVB_HAS_EPOLL

#include <fcntl.h>
#include <unistd.h>

int uvb_epoll_init(uvb_epoll *set, PyObject *args) {
  PyObject *loop;

  if (!PyArg_UnpackTuple(args, "set", 1, 1, &loop))
    return -1;
  if (set->loop != NULL || !uvb_is_scheduler(loop)) {
    PyErr_SetString(PyExc_TypeError, "loop: a loop with a scheduler in C is needed");
    return -1;
  }
  set->fd = epoll_create1(EPOLL_CLOEXEC);
  if (set->fd == -1) {
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
  }
  Py_INCREF(loop);
  set->loop = (uvb_scheduler *)loop;
  return 0;
}

void uvb_epoll_close(uvb_epoll *set) {
  const int fd = set->fd;

  set->fd = -1;
  if (fd != -1)
    close(fd);
}

int uvb_epoll_opened(const uvb_epoll *set) { return set->loop != NULL && set->loop->opened; }

int uvb_epoll_usable(const uvb_epoll *set) {
  PyObject *result;

  if (uvb_epoll_opened(set) && set->fd != -1 && set->loop->core != NULL &&
      !set->loop->core->half.loop->forked)
    return 1;
  if (set->loop == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return 0;
  }
  result = PyObject_CallMethod((PyObject *)set->loop, "_check_watching", NULL);
  if (result != NULL)
    PyErr_SetString(PyExc_RuntimeError, "the loop cannot watch descriptors now");
  Py_XDECREF(result);
  return 0;
}

int uvb_epoll_number(PyObject *object, int *fd) {
  const long number = PyLong_AsLong(object);

  if (number == -1 && PyErr_Occurred())
    return 0;
  if (number < 0 || number > INT_MAX) {
    PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", number);
    return 0;
  }
  *fd = (int)number;
  return 1;
}

/* A number that is none of an open descriptor's does not make the table large. */
int uvb_epoll_grow(void **table, size_t *room, size_t size, int fd) {
  size_t more = *room == 0 ? 64 : *room;
  void *larger;

  if ((size_t)fd < *room)
    return 1;
  if (fcntl(fd, F_GETFD) == -1) {
    PyErr_SetFromErrno(PyExc_OSError);
    return 0;
  }
  while (more <= (size_t)fd)
    more *= 2;
  larger = realloc(*table, more * size);
  if (larger == NULL) {
    PyErr_NoMemory();
    return 0;
  }
  memset((char *)larger + *room * size, 0, (more - *room) * size);
  *table = larger;
  *room = more;
  return 1;
}

int uvb_epoll_poll(const uvb_epoll *set, struct epoll_event *found) {
  int count = set->fd == -1 ? 0 : epoll_wait(set->fd, found, UVB_EPOLL_AT_ONCE, 0);
  return count < 0 ? 0 : count;
}

PyObject *uvb_epoll_pair(PyObject *const *objects) {
  PyObject *one = objects[0] == NULL ? Py_None : objects[0];
  PyObject *other = objects[1] == NULL ? Py_None : objects[1], *pair;

  Py_INCREF(one); /* making the tuple may collect garbage, and run any code */
  Py_INCREF(other);
  pair = PyTuple_Pack(2, one, other);
  Py_DECREF(one);
  Py_DECREF(other);
  return pair;
}

#endif
