/* The crossing of datagrams that arrive: what python.c is for reads. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_datagram(uvb_handle *handle, const char *data, ssize_t nread,
                         const struct sockaddr *sender, int flags) {
  uvb_on_datagram(handle->self, data, nread, sender, flags);
}

void uvb_python_batch(uvb_handle *handle) { uvb_on_batch(handle->self); }

void uvb_python_forget(uvb_handle *handle) { (void)handle; }

#else

enum { SENDERS = 64 };

/* The address tuples of the last senders: making one costs as much as a datagram. */
typedef struct {
  struct sockaddr_in6 raw; /* or in its beginning a sockaddr_in */
  PyObject *tuple;
} known_sender;

PyObject *uvb_address_tuple(const struct sockaddr *address) {
  char host[UVB_HOST_SIZE];
  unsigned int flowinfo, scope_id;
  int port;

  if (uvb_address_unpack(address, host, &port, &flowinfo, &scope_id) != 0)
    Py_RETURN_NONE; /* a unix socket's */
  if (address->sa_family == AF_INET)
    return Py_BuildValue("(si)", host, port);
  return Py_BuildValue("(siII)", host, port, flowinfo, scope_id);
}

/* Returns a new reference. */
static PyObject *sender_of(uvb_handle *handle, const struct sockaddr *address) {
  const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
  const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
  known_sender *known;
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

  if (handle->senders == NULL)
    handle->senders = calloc(SENDERS, sizeof *known);
  if (handle->senders == NULL)
    return PyErr_NoMemory();
  slot ^= slot >> 16;
  slot ^= slot >> 8; /* ports are in network order: mix both of their bytes in */
  known = (known_sender *)handle->senders + slot % SENDERS;
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

/* Lets go of what a handle holds; called through cffi, without the GIL. */
void uvb_python_forget(uvb_handle *handle) {
  PyGILState_STATE state;
  if (handle->senders == NULL)
    return;
  state = PyGILState_Ensure();
  for (int i = 0; i < SENDERS; i++)
    Py_XDECREF(((known_sender *)handle->senders)[i].tuple);
  PyGILState_Release(state);
  free(handle->senders);
  handle->senders = NULL;
}

static int add_to_batch(uvb_handle *handle, PyObject *payload, PyObject *sender,
                        PyObject *flags) {
  PyObject *datagram;
  int failure;

  if (handle->batch == NULL)
    handle->batch = PyList_New(0);
  if (handle->batch == NULL)
    return -1;
  datagram = PyTuple_Pack(handle->batching, payload, sender, flags); /* perhaps without flags */
  if (datagram == NULL)
    return -1;
  failure = PyList_Append(handle->batch, datagram);
  Py_DECREF(datagram);
  return failure;
}

void uvb_python_datagram(uvb_handle *handle, const char *data, ssize_t nread,
                         const struct sockaddr *address, int flag_word) {
  PyObject *payload, *sender, *flags, *result = NULL;
  int failure = -1;

  uvb_enter(handle->loop);
  payload = PyBytes_FromStringAndSize(data, nread);
  sender = sender_of(handle, address);
  flags = PyLong_FromLong(flag_word);
  if (payload != NULL && sender != NULL && flags != NULL) {
    if (handle->batching)
      failure = add_to_batch(handle, payload, sender, flags);
    else {
      PyObject *object = handle->object, *callback = handle->on_read;
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
  PyObject *batch = handle->batch, *object = handle->object, *callback = handle->on_read;
  PyObject *result;

  uvb_enter(handle->loop);
  handle->batch = NULL;
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

#endif
