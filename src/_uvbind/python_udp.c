/* The crossing of datagrams that arrive: what python.c is for reads. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_datagram(uvb_handle *handle, const char *data, ssize_t nread,
                         const struct sockaddr *sender, int flags) {
  uvb_on_datagram(handle->self, data, nread, sender, flags);
}

void uvb_python_batch(uvb_handle *handle) { uvb_on_batch(handle->self); }

#else

enum { SENDERS = 64 };

/* The address tuples of the last senders: making one costs as much as a datagram. */
struct uvb_known_sender {
  struct sockaddr_in6 raw; /* or in its beginning a sockaddr_in */
  PyObject *tuple;
};

PyObject *uvb_address_tuple(const struct sockaddr *address) {
  char host[UVB_HOST_SIZE];
  unsigned int flowinfo, scope_id;
  PyObject *tuple;
  int port;

  if (uvb_address_unpack(address, host, &port, &flowinfo, &scope_id) != 0)
    Py_RETURN_NONE; /* a unix socket's */
  if (address->sa_family == AF_INET)
    tuple = Py_BuildValue("(si)", host, port);
  else
    tuple = Py_BuildValue("(siII)", host, port, flowinfo, scope_id);
  if (tuple != NULL)
    PyObject_GC_UnTrack(tuple); /* text and numbers cannot be part of a cycle */
  return tuple;
}

/* Returns a new reference. */
static PyObject *sender_of(uvb_core *core, const struct sockaddr *address) {
  const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
  uvb_known_sender *known;
  unsigned int slot;
  size_t size;

  if (address->sa_family == AF_INET) {
    size = offsetof(struct sockaddr_in, sin_zero);
    slot = in4->sin_port ^ in4->sin_addr.s_addr;
  } else if (address->sa_family == AF_INET6) {
    unsigned int last;
    memcpy(&last, &in6->sin6_addr.s6_addr[12], sizeof last);
    size = sizeof *in6;
    slot = in6->sin6_port ^ last;
  } else
    return uvb_address_tuple(address);

  if (core->senders == NULL)
    core->senders = calloc(SENDERS, sizeof *known);
  if (core->senders == NULL)
    return PyErr_NoMemory();
  slot ^= slot >> 16;
  slot ^= slot >> 8; /* ports are in network order: mix both of their bytes in */
  known = &core->senders[slot % SENDERS];
  if (known->tuple == NULL || memcmp(&known->raw, address, size) != 0) {
    PyObject *tuple = uvb_address_tuple(address);
    if (tuple == NULL)
      return NULL;
    memset(&known->raw, 0, sizeof known->raw);
    memcpy(&known->raw, address, size);
    Py_XDECREF(known->tuple);
    known->tuple = tuple;
  }
  Py_INCREF(known->tuple);
  return known->tuple;
}

void uvb_forget_senders(uvb_known_sender *senders) {
  for (int i = 0; senders != NULL && i < SENDERS; i++)
    Py_XDECREF(senders[i].tuple);
  free(senders);
}

static int add_to_batch(const uvb_handle *handle, PyObject *payload, PyObject *sender,
                        PyObject *flags) {
  uvb_core *core = handle->core;
  PyObject *datagram;
  int failure;

  if (core->kept == NULL)
    core->kept = PyList_New(0);
  if (core->kept == NULL)
    return -1;
  datagram = PyTuple_Pack(handle->batching, payload, sender, flags); /* perhaps without flags */
  if (datagram == NULL)
    return -1;
  failure = PyList_Append(core->kept, datagram);
  Py_DECREF(datagram);
  return failure;
}

void uvb_python_datagram(uvb_handle *handle, const char *data, ssize_t nread,
                         const struct sockaddr *address, int flag_word) {
  uvb_core *core = handle->core;
  PyObject *payload, *sender, *flags, *result = NULL;
  int failure = -1;

  uvb_python_enter(handle->loop);
  payload = PyBytes_FromStringAndSize(data, nread);
  sender = sender_of(core, address);
  flags = PyLong_FromLong(flag_word);
  if (payload != NULL && sender != NULL && flags != NULL) {
    if (handle->batching)
      failure = add_to_batch(handle, payload, sender, flags);
    else {
      PyObject *object = core->object, *callback = core->on_read;
      Py_INCREF(object);
      Py_INCREF(callback);
      result = PyObject_CallFunctionObjArgs(callback, object, payload, sender, flags, Py_None,
                                            NULL);
      failure = result == NULL ? -1 : 0;
      Py_DECREF(callback);
      Py_DECREF(object);
    }
  }
  if (failure != 0)
    uvb_report();
  Py_XDECREF(result);
  Py_XDECREF(flags);
  Py_XDECREF(sender);
  Py_XDECREF(payload);
}

void uvb_python_batch(uvb_handle *handle) {
  uvb_core *core = handle->core;
  PyObject *batch, *object = core->object, *callback = core->on_read, *result;

  uvb_python_enter(handle->loop);
  batch = core->kept;
  core->kept = NULL;
  if (batch == NULL) /* there was no memory for any of it, which has been reported */
    return;
  Py_INCREF(object);
  Py_INCREF(callback);
  result = PyObject_CallFunctionObjArgs(callback, object, batch, Py_None, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_DECREF(callback);
  Py_DECREF(object);
  Py_DECREF(batch);
}

/* udp.recv_start(batching, callback) -> 0 or libuv's error: `callback` gets what arrives. */
PyObject *uvb_recv_start(PyObject *self, PyObject *args) {
  uvb_handle *handle = uvb_core_handle(self);
  PyObject *callback;
  int batching, err;

  if (handle == NULL || !PyArg_ParseTuple(args, "iO", &batching, &callback))
    return NULL;
  err = handle->uv.handle.type != UV_UDP || uv_is_closing(&handle->uv.handle)
            ? UV_EINVAL
            : uvb_udp_recv_start(handle, batching);
  if (err == 0)
    uvb_core_call((uvb_core *)self, callback, NULL, NULL);
  return PyLong_FromLong(err);
}

#endif
