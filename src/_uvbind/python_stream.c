/* Reads and writes of streams: the seam between C and Python where the messages pass. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_alloc(uvb_handle *handle) { uvb_on_alloc(handle->self); }

void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread) {
  uvb_on_read(handle->self, data, nread);
}

void uvb_python_returned(uvb_handle *handle) { (void)handle; } /* _core.py does it */

void *uvb_python_keep(void *object, const char *data, size_t size) {
  void *copy = malloc(size);
  (void)object;
  if (copy != NULL)
    memcpy(copy, data, size);
  return copy;
}

void uvb_python_unkeep(void *copy) { free(copy); }

void uvb_python_let_go(uvb_loop *loop, void *copy) {
  (void)loop;
  free(copy);
}

#else

static PyObject *lend;                           /* a method of streams, */
static PyObject *data_received, *buffer_updated; /* and of protocols */

int uvb_stream_names(void) {
  lend = PyUnicode_InternFromString("_lend");
  data_received = PyUnicode_InternFromString("data_received");
  buffer_updated = PyUnicode_InternFromString("buffer_updated");
  return lend != NULL && data_received != NULL && buffer_updated != NULL;
}

/* Ask for the buffer of the next read. */
void uvb_python_alloc(uvb_handle *handle) {
  PyObject *object = ((uvb_core *)handle->core)->object, *result;

  uvb_python_enter(handle->loop);
  Py_INCREF(object);
  result = PyObject_CallMethodObjArgs(object, lend, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_DECREF(object);
}

/* A buffer that was lent for one read is its owner's again, who may resize it. */
void uvb_python_returned(uvb_handle *handle) {
  if (handle->asks)
    uvb_core_return(handle->core);
}

/* A protocol raised: its transport knows what to do, and raises what is for the loop. */
static void tell(PyObject *raised) {
  PyObject *type, *value, *traceback, *result = NULL;

  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  result = PyObject_CallFunctionObjArgs(raised, value, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
}

/* For a transport: run(protocol.data_received, payload), `run` being its context's. */
static void read_protocol(uvb_handle *handle, PyObject *payload) {
  const uvb_core *core = handle->core;
  PyObject *protocol = core->protocol, *raised = core->raised, *run = core->on_read;
  PyObject *method, *result = NULL;

  Py_INCREF(run);
  Py_INCREF(protocol);
  Py_INCREF(raised);
  method = PyObject_GetAttr(protocol, handle->asks ? buffer_updated : data_received);
  if (method != NULL)
    result = PyObject_CallFunctionObjArgs(run, method, payload, NULL);
  if (result == NULL)
    tell(raised);
  Py_XDECREF(result);
  Py_XDECREF(method);
  Py_DECREF(raised);
  Py_DECREF(protocol);
  Py_DECREF(run);
}

void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread) {
  PyObject *payload;

  uvb_python_enter(handle->loop);
  payload = handle->into != NULL ? PyLong_FromSsize_t(nread)
                                 : PyBytes_FromStringAndSize(data, nread);
  uvb_python_returned(handle);
  if (payload == NULL)
    uvb_report();
  else if (((uvb_core *)handle->core)->on_read == NULL)
    ; /* the buffer's owner, who got it back, has closed the stream */
  else if (((uvb_core *)handle->core)->protocol != NULL)
    read_protocol(handle, payload);
  else
    uvb_hand_over(handle, payload);
  Py_XDECREF(payload);
}

void *uvb_python_keep(void *object, const char *data, size_t size) {
  (void)data;
  (void)size;
  Py_INCREF((PyObject *)object);
  return object;
}

/* The GIL is held, and not by the loop: a verb may run outside of uv_run. */
void uvb_python_unkeep(void *object) { Py_DECREF((PyObject *)object); }

void uvb_python_let_go(uvb_loop *loop, void *object) {
  uvb_python_enter(loop);
  Py_DECREF((PyObject *)object);
}

/* stream.write_now(data) -> bool, see uvb_write_now; False as well for another type than bytes and
 * in another thread than the loop's. */
PyObject *uvb_write_now_method(PyObject *core, PyObject *data) {
  uvb_handle *handle = uvb_core_stream(core);
  Py_ssize_t size;
  char *bytes;

  if (handle == NULL)
    return NULL;
  if (!PyBytes_CheckExact(data) || handle->loop->owner != PyThread_get_thread_ident())
    Py_RETURN_FALSE;
  PyBytes_AsStringAndSize(data, &bytes, &size);
  switch (uvb_write_now(handle, bytes, (size_t)size, data)) {
  case 0:
    Py_RETURN_FALSE;
  case 1:
    Py_RETURN_TRUE;
  default:
    return PyErr_NoMemory();
  }
}

/* The object that has the memory of a buffer, which is another one of a memoryview: CPython's
 * garbage collector clears views although they are in use. A new reference, NULL when there is no
 * such object. */
static PyObject *owner_of(PyObject *buffer) {
  PyObject *owner;
  Py_buffer whole;

  if (!PyMemoryView_Check(buffer)) {
    Py_INCREF(buffer);
    return buffer;
  }
  owner = PyObject_GetAttrString(buffer, "obj");
  if (owner != NULL && PyObject_GetBuffer(owner, &whole, PyBUF_SIMPLE) == 0) {
    PyBuffer_Release(&whole);
    return owner;
  }
  PyErr_Clear();
  Py_XDECREF(owner);
  return NULL; /* its memory is not in one piece */
}

/* Has reads land in a writable buffer, which C keeps from now on, as whatever has it may neither go
 * nor be resized. */
static int lend_to(uvb_core *core, PyObject *buffer) {
  PyObject *owner = owner_of(buffer);
  Py_buffer view;
  int failed;

  failed = PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE);
  if (!failed) {
    while (core->lent.obj != NULL) /* giving one back may run any code */
      uvb_core_return(core);
    if (owner == buffer) /* its second export may be of other memory */
      core->lent = view;
    else
      failed = PyObject_GetBuffer(owner != NULL ? owner : buffer, &core->lent, PyBUF_SIMPLE);
    if (!failed) {
      core->half.handle->into = view.buf;
      core->half.handle->into_size = (size_t)view.len;
    }
    if (owner != buffer)
      PyBuffer_Release(&view);
  }
  Py_XDECREF(owner);
  return failed;
}

/* stream.lend(buffer): the next read lands there, and then C has no part of it any more. */
PyObject *uvb_lend(PyObject *core, PyObject *buffer) {
  if (uvb_core_stream(core) == NULL || lend_to((uvb_core *)core, buffer) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* stream.read_start(asks, into, callback, protocol, raised) -> 0 or libuv's error.
 *
 * `asks`: the object's _lend() is called before every read. `into`: the buffer of all reads, or
 * None. `callback` is what uvb_python_read calls; when there are a protocol and what takes the
 * exceptions that it raises, and not None, it is its context's `run`. */
PyObject *uvb_read_start(PyObject *self, PyObject *args) {
  uvb_core *core = (uvb_core *)self;
  uvb_handle *handle = uvb_core_stream(self);
  PyObject *asks, *into, *callback, *protocol, *raised;
  int err;

  if (handle == NULL ||
      !PyArg_UnpackTuple(args, "read_start", 5, 5, &asks, &into, &callback, &protocol, &raised))
    return NULL;
  err = handle->uv.handle.type == UV_UNKNOWN_HANDLE
            ? UV_EINVAL
            : uv_read_start(&handle->uv.stream, uvb_alloc_cb, uvb_read_cb);
  if (err != 0)
    return PyLong_FromLong(err);
  handle->asks = asks == Py_True;
  uvb_core_call(core, callback, protocol == Py_None ? NULL : protocol,
                raised == Py_None ? NULL : raised);
  if (into != Py_None && lend_to(core, into) != 0) {
    uv_read_stop(&handle->uv.stream);
    return NULL;
  }
  return PyLong_FromLong(0);
}

/* stream.read_stop() -> 0 or libuv's error: nothing is read from now on. */
PyObject *uvb_read_stop(PyObject *self, PyObject *none) {
  uvb_handle *handle = uvb_core_stream(self);
  int err;
  (void)none;

  if (handle == NULL)
    return NULL;
  err = uv_read_stop(&handle->uv.stream);
  uvb_core_return((uvb_core *)self);
  return PyLong_FromLong(err);
}

/* stream.forget_calls(): the stream is closing, and nothing is read any more. The protocol that reads were for
 * is free now, and not in the close callback. */
PyObject *uvb_forget_calls(PyObject *self, PyObject *none) {
  (void)none;
  uvb_core_call((uvb_core *)self, NULL, NULL, NULL);
  Py_RETURN_NONE;
}

#endif
