/* Reads and writes of streams: the seam between C and Python where the messages pass.
 *
 * `object`, `on_read`, `protocol` and `raised` of a handle are borrowed: the Python object, which
 * its loop keeps until the close callback, holds the others. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_alloc(uvb_handle *handle) { uvb_on_alloc(handle->self); }

void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread) {
  uvb_on_read(handle->self, data, nread);
}

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

static PyObject *lend, *into;                    /* attributes of streams, */
static PyObject *data_received, *buffer_updated; /* and of protocols */

int uvb_stream_names(void) {
  lend = PyUnicode_InternFromString("_lend");
  into = PyUnicode_InternFromString("_into");
  data_received = PyUnicode_InternFromString("data_received");
  buffer_updated = PyUnicode_InternFromString("buffer_updated");
  return lend != NULL && into != NULL && data_received != NULL && buffer_updated != NULL;
}

/* Ask for the buffer of the next read. */
void uvb_python_alloc(uvb_handle *handle) {
  PyObject *object = handle->object, *result;

  uvb_enter(handle->loop);
  Py_INCREF(object);
  result = PyObject_CallMethodObjArgs(object, lend, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_DECREF(object);
}

/* The read has landed: the buffer is its owner's again, who may resize it. */
static void give_back(uvb_handle *handle) {
  handle->into = NULL;
  if (PyObject_SetAttr(handle->object, into, Py_None) < 0)
    uvb_report();
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
  PyObject *protocol = handle->protocol, *raised = handle->raised, *run = handle->on_read;
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

  uvb_enter(handle->loop);
  payload = handle->into != NULL ? PyLong_FromSsize_t(nread)
                                 : PyBytes_FromStringAndSize(data, nread);
  if (handle->asks)
    give_back(handle);
  if (payload == NULL)
    uvb_report();
  else if (handle->protocol != NULL)
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
  uvb_enter(loop);
  Py_DECREF((PyObject *)object);
}

/* write_now(data) -> bool, see uvb_write_now; False as well for another type than bytes and
 * in another thread than the loop's. */
static PyObject *write_now(PyObject *capsule, PyObject *data) {
  uvb_handle *handle = PyCapsule_GetPointer(capsule, NULL);
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

static PyMethodDef write_now_def = {"write_now", write_now, METH_O, NULL};

/* try_write(data) -> how many bytes were written, 0 for all that is not for it to deal with, or
 * libuv's error. */
static PyObject *try_write(PyObject *capsule, PyObject *data) {
  uvb_handle *handle = PyCapsule_GetPointer(capsule, NULL);
  uv_buf_t buffer;
  int sent = 0;

  if (handle == NULL)
    return NULL;
  if (PyBytes_CheckExact(data) && PyBytes_Size(data) <= INT32_MAX &&
      handle->loop->owner == PyThread_get_thread_ident() && !uv_is_closing(&handle->uv.handle) &&
      uv_is_writable(&handle->uv.stream)) {
    buffer = uv_buf_init(PyBytes_AsString(data), (unsigned int)PyBytes_Size(data));
    sent = uv_try_write(&handle->uv.stream, &buffer, 1);
  }
  return PyLong_FromLong(sent == UV_EAGAIN ? 0 : sent);
}

static PyMethodDef try_write_def = {"try_write", try_write, METH_O, NULL};

/* A builtin of the handle at that address. */
static PyObject *of_handle(PyMethodDef *def, PyObject *address) {
  uvb_handle *handle = PyLong_AsVoidPtr(address);
  PyObject *capsule, *function;
  if (handle == NULL)
    return NULL;
  capsule = PyCapsule_New(handle, NULL, NULL);
  if (capsule == NULL)
    return NULL;
  function = PyCFunction_NewEx(def, capsule, NULL);
  Py_DECREF(capsule);
  return function;
}

/* writer(address) -> write_now of the handle at that address. */
PyObject *uvb_writer(PyObject *module, PyObject *address) {
  (void)module;
  return of_handle(&write_now_def, address);
}

/* try_writer(address) -> its try_write. */
PyObject *uvb_try_writer(PyObject *module, PyObject *address) {
  (void)module;
  return of_handle(&try_write_def, address);
}

/* reader(address, object, callback): whom uvb_python_read and uvb_python_poll call. With two more
 * arguments, a protocol and what takes the exceptions that it raises, `callback` is its context's
 * run. */
PyObject *uvb_reader(PyObject *module, PyObject *args) {
  PyObject *address, *object, *callback, *protocol = NULL, *raised = NULL;
  uvb_handle *handle;
  (void)module;
  if (!PyArg_UnpackTuple(args, "reader", 3, 5, &address, &object, &callback, &protocol, &raised))
    return NULL;
  handle = PyLong_AsVoidPtr(address);
  if (handle == NULL)
    return NULL;
  handle->object = object;
  handle->on_read = callback;
  handle->protocol = protocol;
  handle->raised = raised;
  Py_RETURN_NONE;
}

#endif
