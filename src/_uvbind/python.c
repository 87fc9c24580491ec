/* The seam between C and Python, the one file that knows CPython from PyPy.
 *
 * On CPython a read is handed to its Python callback from here, with the C API. The first
 * callback of a loop turn takes the GIL and the turn keeps it: taking and dropping it costs
 * as much as a third of a small message. A prepare watcher, started before any other and so
 * run after all of them, lets go of it right before the poll, which may block.
 *
 * PyPy has no cheap C API but cheap callbacks: there everything goes through uvb_on_read.
 *
 * `object` and `on_read` of a handle are borrowed: the Python object, which its loop keeps
 * until the close callback, holds its callback. */
#include "python.h"

#ifdef PYPY_VERSION

int uvb_python_init(uvb_loop *loop) {
  (void)loop;
  return 0;
}

void uvb_python_leave(uvb_loop *loop) { (void)loop; }

void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread) {
  uvb_on_read(handle->self, data, nread);
}

void uvb_python_request(uvb_request *request, int status) {
  uvb_on_request(request->self, status);
}

void uvb_python_later(uvb_loop *loop) { uvb_on_later(loop->self); }

void *uvb_python_keep(void *object, const char *data, size_t size) {
  void *copy = malloc(size);
  (void)object;
  if (copy != NULL)
    memcpy(copy, data, size);
  return copy;
}

void uvb_python_let_go(uvb_loop *loop, void *copy) {
  (void)loop;
  free(copy);
}

int uvb_install(void *dict) {
  (void)dict;
  return 0;
}

#else

static PyObject *failed; /* Python's: takes an exception that left a callback */
static PyObject *complete; /* "_complete", the method of a request that is done */
static PyObject *run_later; /* "_run_later", of a loop */

void uvb_enter(uvb_loop *loop) {
  if (!loop->has_gil) {
    loop->gil_state = (int)PyGILState_Ensure();
    loop->has_gil = 1;
  }
}

void uvb_python_leave(uvb_loop *loop) {
  if (loop->has_gil) {
    loop->has_gil = 0;
    PyGILState_Release((PyGILState_STATE)loop->gil_state);
  }
}

static void before_poll(uv_prepare_t *prepare) { uvb_python_leave(prepare->loop->data); }

int uvb_python_init(uvb_loop *loop) {
  uv_prepare_init(&loop->uv, &loop->before_poll);
  uv_prepare_start(&loop->before_poll, before_poll);
  uv_unref((uv_handle_t *)&loop->before_poll);
  return 0;
}

/* Hand over what a callback raised. `failed` only fails when Ctrl-C meets it, or when memory is
 * out: then both are handed over. */
void uvb_report(void) {
  PyObject *type, *value, *traceback, *done = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  for (int attempt = 0; done == NULL && attempt < 3; attempt++) {
    PyObject *second_type, *second, *second_traceback;
    done = PyObject_CallFunctionObjArgs(failed, value, NULL);
    if (done == NULL) {
      PyErr_Fetch(&second_type, &second, &second_traceback);
      PyErr_NormalizeException(&second_type, &second, &second_traceback);
      if (second != NULL)
        Py_XDECREF(PyObject_CallFunctionObjArgs(failed, second, NULL));
      Py_XDECREF(second_type);
      Py_XDECREF(second);
      Py_XDECREF(second_traceback);
    }
  }
  if (PyErr_Occurred())
    PyErr_WriteUnraisable(failed);
  Py_XDECREF(done);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
}

void uvb_python_read(uvb_handle *handle, const char *data, ssize_t nread) {
  PyObject *object, *callback, *payload, *result = NULL;

  uvb_enter(handle->loop);
  object = handle->object;
  callback = handle->on_read;
  /* The callback may close the stream or start another read: hold on to both. */
  Py_INCREF(object);
  Py_INCREF(callback);
  payload = handle->into != NULL ? PyLong_FromSsize_t(nread)
                                 : PyBytes_FromStringAndSize(data, nread);
  if (payload != NULL)
    result = PyObject_CallFunctionObjArgs(callback, object, payload, Py_None, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_XDECREF(payload);
  Py_DECREF(callback);
  Py_DECREF(object);
}

/* A request is done. Its loop keeps the Python object until then, and it keeps itself no more. */
void uvb_python_request(uvb_request *request, int status) {
  PyObject *object = request->self, *result = NULL, *number;

  uvb_enter(request->loop);
  Py_INCREF(object);
  number = PyLong_FromLong(status);
  if (number != NULL)
    result = PyObject_CallMethodObjArgs(object, complete, number, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_XDECREF(number);
  Py_DECREF(object);
}

void uvb_python_later(uvb_loop *loop) {
  PyObject *object = loop->object, *result;

  uvb_enter(loop);
  Py_INCREF(object);
  result = PyObject_CallMethodObjArgs(object, run_later, NULL);
  if (result == NULL)
    uvb_report();
  else if (result == Py_False)
    uvb_loop_not_later(loop);
  Py_XDECREF(result);
  Py_DECREF(object);
}

/* loop(address, object): what uvb_python_later calls. */
static PyObject *loop_object(PyObject *module, PyObject *args) {
  PyObject *address, *object;
  uvb_loop *loop;
  (void)module;
  if (!PyArg_UnpackTuple(args, "loop", 2, 2, &address, &object))
    return NULL;
  loop = PyLong_AsVoidPtr(address);
  if (loop == NULL)
    return NULL;
  loop->object = object;
  Py_RETURN_NONE;
}

/* request(loop, object) -> the address of a new uvb_request. */
static PyObject *request(PyObject *module, PyObject *args) {
  PyObject *address, *object;
  void *loop, *made;
  (void)module;
  if (!PyArg_UnpackTuple(args, "request", 2, 2, &address, &object))
    return NULL;
  loop = PyLong_AsVoidPtr(address);
  if (loop == NULL)
    return NULL;
  made = uvb_request_new(loop, object);
  return made == NULL ? PyErr_NoMemory() : PyLong_FromVoidPtr(made);
}

void *uvb_python_keep(void *object, const char *data, size_t size) {
  (void)data;
  (void)size;
  Py_INCREF((PyObject *)object);
  return object;
}

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

/* try_write(data) -> how many bytes were written, 0 for all that is not for it to deal with. */
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
  return PyLong_FromLong(sent < 0 ? 0 : sent);
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
static PyObject *writer(PyObject *module, PyObject *address) {
  (void)module;
  return of_handle(&write_now_def, address);
}

/* try_writer(address) -> its try_write. */
static PyObject *try_writer(PyObject *module, PyObject *address) {
  (void)module;
  return of_handle(&try_write_def, address);
}

/* reader(address, object, callback): whom uvb_python_read calls. */
static PyObject *reader(PyObject *module, PyObject *args) {
  PyObject *address, *object, *callback;
  uvb_handle *handle;
  (void)module;
  if (!PyArg_UnpackTuple(args, "reader", 3, 3, &address, &object, &callback))
    return NULL;
  handle = PyLong_AsVoidPtr(address);
  if (handle == NULL)
    return NULL;
  handle->object = object;
  handle->on_read = callback;
  Py_RETURN_NONE;
}

static PyMethodDef builtins[] = {
    {"loop", loop_object, METH_VARARGS, NULL},
    {"request", request, METH_VARARGS, NULL},
    {"writer", writer, METH_O, NULL},
    {"try_writer", try_writer, METH_O, NULL},
    {"reader", reader, METH_VARARGS, NULL},
    {"senders", uvb_senders, METH_VARARGS, NULL},
    {"resolver", uvb_resolver, METH_VARARGS, NULL},
};

/* Called through cffi, which has let go of the GIL. */
int uvb_install(void *dict) {
  enum { COUNT = sizeof builtins / sizeof *builtins };
  PyGILState_STATE state = PyGILState_Ensure();
  int installed = 0;

  failed = PyDict_GetItemString(dict, "failed");
  Py_XINCREF(failed);
  complete = PyUnicode_InternFromString("_complete");
  run_later = PyUnicode_InternFromString("_run_later");
  for (int i = 0; failed != NULL && complete != NULL && run_later != NULL && i < COUNT; i++) {
    PyObject *function = PyCFunction_NewEx(&builtins[i], NULL, NULL);
    if (function != NULL && PyDict_SetItemString(dict, builtins[i].ml_name, function) == 0)
      installed++;
    Py_XDECREF(function);
  }
  PyErr_Clear();
  PyGILState_Release(state);
  return installed;
}

#endif
