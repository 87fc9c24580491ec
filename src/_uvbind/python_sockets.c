/* Sockets that are not libuv's: an asyncio program's own, and those that listen for it. What waits
 * for nothing has no need of an exception to say so, which costs as much as a small message. */
#include "python.h"

#if !defined(PYPY_VERSION) && !defined(_WIN32)

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef MSG_NOSIGNAL
#define UVB_SEND (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define UVB_SEND MSG_DONTWAIT
#endif

static PyObject *none(void) { Py_RETURN_NONE; }

static int is_later(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* So much a small read may be, which is copied. */
enum { SMALL = 16 * 1024 };

/* How many bytes a read of up to `size` is to ask for: as many as are there, so that a large read fills
 * the bytes object that it lands in. */
static Py_ssize_t there(int fd, Py_ssize_t size) {
  int count;

  if (size <= SMALL || ioctl(fd, FIONREAD, &count) != 0 || count >= size)
    return size;
  return count < SMALL ? SMALL : count;
}

/* receive(fd, size) -> bytes, or None when there is nothing yet. */
PyObject *uvb_receive(PyObject *module, PyObject *args) {
  char small[SMALL], *buffer = small;
  PyObject *descriptor, *room, *received = NULL;
  Py_ssize_t size, nread;
  int fd;
  (void)module;

  if (!PyArg_UnpackTuple(args, "receive", 2, 2, &descriptor, &room))
    return NULL;
  fd = (int)PyLong_AsLong(descriptor);
  size = PyLong_AsSsize_t(room);
  if (PyErr_Occurred())
    return NULL;
  size = there(fd, size);
  if (size > SMALL) {
    received = PyBytes_FromStringAndSize(NULL, size);
    buffer = received == NULL ? NULL : PyBytes_AsString(received);
    if (buffer == NULL)
      return NULL;
  }
  nread = recv(fd, buffer, (size_t)size, MSG_DONTWAIT);
  if (nread == size && received != NULL)
    return received;
  if (nread >= 0) {
    PyObject *copy = PyBytes_FromStringAndSize(buffer, nread);
    Py_XDECREF(received);
    return copy;
  }
  Py_XDECREF(received);
  return is_later(errno) ? none() : PyErr_SetFromErrno(PyExc_OSError);
}

/* send(fd, data, offset) -> the number of bytes of `data`, from `offset` on, that the system took. */
PyObject *uvb_send(PyObject *module, PyObject *args) {
  PyObject *descriptor, *data, *offset;
  Py_ssize_t begin, sent;
  int fd;
  (void)module;

  if (!PyArg_UnpackTuple(args, "send", 3, 3, &descriptor, &data, &offset))
    return NULL;
  fd = (int)PyLong_AsLong(descriptor);
  begin = PyLong_AsSsize_t(offset);
  if (PyErr_Occurred())
    return NULL;
  if (!PyBytes_Check(data) || begin < 0 || begin > PyBytes_Size(data))
    return PyErr_Format(PyExc_TypeError, "bytes are needed, and an offset in them");
  sent = send(fd, PyBytes_AsString(data) + begin, (size_t)(PyBytes_Size(data) - begin), UVB_SEND);
  if (sent < 0 && !is_later(errno))
    return PyErr_SetFromErrno(PyExc_OSError);
  return PyLong_FromSsize_t(sent < 0 ? 0 : sent);
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
