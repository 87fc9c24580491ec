/* The builtins that send datagrams: what python.c has for writes. */
#include "python.h"

#ifndef PYPY_VERSION

/* Whether it is None or a tuple of plain parts: looking those up runs no code but ours. What
 * others run may close the handle, so Python converts them before it asks for the handle. */
static int is_plain(PyObject *address) {
  Py_ssize_t size = PyTuple_CheckExact(address) ? PyTuple_Size(address) : 0;

  for (Py_ssize_t i = 0; i < size; i++) {
    PyObject *part = PyTuple_GetItem(address, i);
    if (!(i == 0 ? PyUnicode_CheckExact(part) : PyLong_CheckExact(part)))
      return 0;
  }
  return size > 0 || address == Py_None;
}

/* The raw form of an address, a bytes object that `book` holds from then on: a new reference.
 * `pack` is Python's, for those that are not in the book yet; its None, for those that are not
 * for us to send to, the book does not hold. */
static PyObject *look_up(PyObject *book, PyObject *pack, PyObject *address) {
  enum { PAGES = 1024 };
  PyObject *raw = PyDict_GetItemWithError(book, address);

  if (raw != NULL) {
    Py_INCREF(raw);
    return raw;
  }
  raw = PyErr_Occurred() ? NULL : PyObject_CallFunctionObjArgs(pack, address, NULL);
  if (raw != NULL && raw != Py_None) {
    if (PyDict_Size(book) >= PAGES)
      PyDict_Clear(book);
    PyDict_SetItem(book, address, raw);
    PyErr_Clear(); /* not remembered, then */
  }
  return raw;
}

/* What the builtins of a UDP handle have as their self. */
static uvb_handle *udp_of(PyObject *self, PyObject **book, PyObject **pack) {
  *book = PyTuple_GetItem(self, 1);
  *pack = PyTuple_GetItem(self, 2);
  return uvb_core_handle(PyTuple_GetItem(self, 0));
}

static int usable(uvb_handle *handle) {
  return handle->loop->owner == PyThread_get_thread_ident() &&
         !uv_is_closing(&handle->uv.handle);
}

/* One datagram; `later`: libuv is to keep it when the kernel does not take it. */
static PyObject *send_one(PyObject *self, PyObject *args, int later) {
  PyObject *book, *pack, *data, *address, *raw = NULL;
  uvb_handle *handle = udp_of(self, &book, &pack);
  const struct sockaddr *storage = NULL;
  const char *bytes;
  size_t size;
  int result;

  if (!PyArg_UnpackTuple(args, "send", 2, 2, &data, &address))
    return NULL;
  if (!PyBytes_CheckExact(data) || !is_plain(address) || !usable(handle))
    Py_RETURN_NONE;
  bytes = PyBytes_AsString(data);
  size = (size_t)PyBytes_Size(data);
  if (size == 0 && !later)
    Py_RETURN_NONE;
  if (address != Py_None) {
    raw = look_up(book, pack, address);
    if (raw == NULL || raw == Py_None)
      return raw;
    if (!usable(handle)) { /* a signal's handler closed it meanwhile */
      Py_DECREF(raw);
      Py_RETURN_NONE;
    }
    storage = (const struct sockaddr *)PyBytes_AsString(raw);
  }
  result = later ? uvb_udp_send_now(handle, bytes, size, storage, data)
                 : uvb_udp_try_send(handle, bytes, size, storage);
  Py_XDECREF(raw);
  return PyLong_FromLong(result);
}

/* send_now(data, address) -> 0 or libuv's error; None, with nothing done, leaves it to
 * Python: other types than the commonest, another thread, a closed handle. */
static PyObject *send_now(PyObject *self, PyObject *args) { return send_one(self, args, 1); }

/* try_send(data, address) -> how many bytes were sent or libuv's error, or None as well, which
 * an empty datagram is left to Python with. */
static PyObject *try_send(PyObject *self, PyObject *args) { return send_one(self, args, 0); }

/* A datagram of a batch that is being sent, with references to what libuv reads of it: packing
 * an address can run any code, which might take the list apart. */
typedef struct {
  PyObject *item, *raw;
} held_datagram;

/* One datagram of a batch, after `earlier` or NULL; 1 when it is for Python to deal with, -1
 * with an exception set. */
static int unwrap(PyObject *item, PyObject *book, PyObject *pack, const held_datagram *earlier,
                  held_datagram *held, uv_buf_t *buffer, struct sockaddr **storage) {
  PyObject *data, *address, *raw = NULL;

  if (!PyTuple_CheckExact(item) || PyTuple_Size(item) != 2)
    return 1;
  data = PyTuple_GetItem(item, 0);
  address = PyTuple_GetItem(item, 1);
  if (!PyBytes_CheckExact(data) || PyBytes_Size(data) > UVB_DATAGRAM_SIZE || !is_plain(address))
    return 1;
  Py_INCREF(item);
  if (earlier != NULL && PyTuple_GetItem(earlier->item, 1) == address) {
    raw = earlier->raw; /* most go where the one before went */
    Py_XINCREF(raw);
  } else if (address != Py_None) {
    raw = look_up(book, pack, address);
    if (raw == NULL || raw == Py_None) {
      Py_DECREF(item);
      Py_XDECREF(raw);
      return raw == NULL ? -1 : 1;
    }
  }
  held->item = item;
  held->raw = raw;
  *buffer = uv_buf_init(PyBytes_AsString(data), (unsigned int)PyBytes_Size(data));
  *storage = raw == NULL ? NULL : (struct sockaddr *)PyBytes_AsString(raw);
  return 0;
}

/* Sends the datagrams of a list from `first` on, as many as libuv takes at once. Returns how many
 * were sent or libuv's error; `state` is what unwrap() said of the first that was not tried, else
 * 0, `tried` how many were. */
static int send_portion(uvb_handle *handle, PyObject *book, PyObject *pack, PyObject *list,
                        Py_ssize_t first, int *state, int *tried) {
  uv_buf_t buffers[UVB_DATAGRAMS];
  struct sockaddr *storages[UVB_DATAGRAMS];
  held_datagram held[UVB_DATAGRAMS];
  int count = 0, sent = 0;

  *state = 0;
  while (count < UVB_DATAGRAMS && first + count < PyList_Size(list)) {
    *state = unwrap(PyList_GetItem(list, first + count), book, pack,
                    count > 0 ? &held[count - 1] : NULL, &held[count], &buffers[count],
                    &storages[count]);
    if (*state != 0)
      break;
    count++;
  }
  /* Packing may have closed the handle as well. */
  if (count > 0 && usable(handle))
    sent = uvb_udp_send_batch(handle, (unsigned int)count, buffers, storages);
  for (int i = 0; i < count; i++) {
    Py_XDECREF(held[i].raw);
    Py_DECREF(held[i].item);
  }
  *tried = count;
  return sent;
}

/* A socket that is there, and nothing that waits to be sent before a batch. */
static int ready(uvb_handle *handle) {
  uv_os_fd_t fd;
  return usable(handle) && uv_fileno(&handle->uv.handle, &fd) == 0 &&
         uv_udp_get_send_queue_count(&handle->uv.udp) == 0;
}

/* send_batch(list, first) -> how many were sent of the datagrams from `first` on, or libuv's
 * error when it is the first of them that failed; None, with nothing done, leaves it to Python. */
static PyObject *send_batch(PyObject *self, PyObject *args) {
  PyObject *book, *pack, *list, *start;
  uvb_handle *handle = udp_of(self, &book, &pack);
  Py_ssize_t first, done = 0;
  int state, tried, sent;

  if (!PyArg_UnpackTuple(args, "send_batch", 2, 2, &list, &start))
    return NULL;
  if (!PyList_CheckExact(list) || !ready(handle))
    Py_RETURN_NONE;
  first = PyLong_AsSsize_t(start);
  do {
    sent = send_portion(handle, book, pack, list, first + done, &state, &tried);
    if (sent > 0)
      done += sent;
  } while (state == 0 && tried == UVB_DATAGRAMS && sent == tried);
  /* What comes before a flawed one is sent; the next call meets the flaw first. */
  if (done == 0 && tried == 0 && state < 0)
    return NULL;
  if (state < 0)
    PyErr_Clear();
  if (done == 0 && tried == 0 && state > 0)
    Py_RETURN_NONE;
  return PyLong_FromSsize_t(done > 0 ? done : sent);
}

static PyMethodDef send_now_def = {"send_now", send_now, METH_VARARGS, NULL};
static PyMethodDef try_send_def = {"try_send", try_send, METH_VARARGS, NULL};
static PyMethodDef send_batch_def = {"send_batch", send_batch, METH_VARARGS, NULL};

/* udp.senders(pack) -> its (send_now, try_send, send_batch), each with the core, a book of addresses
 * and `pack` as its self. */
PyObject *uvb_senders(PyObject *core, PyObject *pack) {
  static PyMethodDef *const defs[] = {&send_now_def, &try_send_def, &send_batch_def};
  enum { COUNT = sizeof defs / sizeof *defs };
  PyObject *book, *self, *function, *all;
  const uvb_handle *handle = uvb_core_handle(core);

  if (handle == NULL)
    return NULL;
  if (handle->uv.handle.type != UV_UDP) {
    PyErr_SetString(PyExc_TypeError, "expected the core of a UDP handle");
    return NULL;
  }
  book = PyDict_New();
  self = book != NULL ? PyTuple_Pack(3, core, book, pack) : NULL;
  all = self != NULL ? PyTuple_New(COUNT) : NULL;
  for (int i = 0; all != NULL && i < COUNT; i++) {
    function = PyCFunction_NewEx(defs[i], self, NULL);
    if (function == NULL)
      Py_CLEAR(all);
    else
      PyTuple_SetItem(all, i, function);
  }
  Py_XDECREF(self);
  Py_XDECREF(book);
  return all;
}

#endif
