/* Sockets of the program's own, which an asyncio program receives from. */
#include "python.h"

#if !defined(PYPY_VERSION) && !defined(_WIN32)

#include <errno.h>
#include <sys/socket.h>

/* receive(fd, size) -> bytes, or None when there is nothing yet: the exception by which
 * socket.recv() says so costs as much as all the rest of a small message. */
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
  else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
    PyErr_SetFromErrno(PyExc_OSError);
  else {
    received = Py_None;
    Py_INCREF(received);
  }
  PyMem_Free(buffer);
  return received;
}

#endif
