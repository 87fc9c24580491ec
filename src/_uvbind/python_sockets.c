/* Sockets that are not libuv's: an asyncio program's own, and those that listen for it. What waits
 * for nothing has no need of an exception to say so, which costs as much as a small message. */
#include "python.h"

#if !defined(PYPY_VERSION) && !defined(_WIN32)

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *none(void) { Py_RETURN_NONE; }

/* receive(fd, size) -> bytes, or None when there is nothing yet. */
PyObject *uvb_receive(PyObject *module, PyObject *args) {
  PyObject *descriptor, *room, *received = NULL;
  ssize_t nread;
  char *buffer;
  size_t size;
  int fd;
  (void)module;

  if (!PyArg_UnpackTuple(args, "receive", 2, 2, &descriptor, &room))
    return NULL;
  fd = (int)PyLong_AsLong(descriptor);
  size = PyLong_AsSize_t(room);
  if (PyErr_Occurred())
    return NULL;
  buffer = PyMem_Malloc(size);
  if (buffer == NULL)
    return PyErr_NoMemory();
  nread = recv(fd, buffer, size, MSG_DONTWAIT);
  if (nread >= 0)
    received = PyBytes_FromStringAndSize(buffer, nread);
  else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
    received = none();
  else
    PyErr_SetFromErrno(PyExc_OSError);
  PyMem_Free(buffer);
  return received;
}

#ifdef SOCK_NONBLOCK
/* accept(fd, own) -> the address of a connection that does not block, or None when no connection
 * waits. own(descriptor), in C itself, gives the connection its owner before any Python runs. For
 * IPv4 and IPv6. */
PyObject *uvb_accept(PyObject *module, PyObject *args) {
  struct sockaddr_storage storage;
  struct sockaddr *address = (struct sockaddr *)&storage;
  socklen_t size = sizeof storage;
  PyObject *descriptor, *own, *owned, *name;
  int fd;
  (void)module;

  if (!PyArg_UnpackTuple(args, "accept", 2, 2, &descriptor, &own))
    return NULL;
  fd = (int)PyLong_AsLong(descriptor);
  if (PyErr_Occurred())
    return NULL;
  fd = accept4(fd, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd == -1) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED)
      return none();
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  name = uvb_address_tuple(address);
  owned = name != NULL ? PyObject_CallFunction(own, "i", fd) : NULL;
  if (owned == NULL) {
    close(fd);
    Py_CLEAR(name);
  }
  Py_XDECREF(owned);
  return name;
}
#endif

#endif
