/* The seam between C and Python; the files python*.c are those that know CPython from PyPy.
 *
 * On CPython what is frequent is handed to Python from here, with the C API. The first
 * callback of a loop turn takes the GIL and the turn keeps it: taking and dropping it costs
 * as much as a third of a small message. The loop lets go of it right before a poll that may
 * block; else Python's own interpreter shares it out.
 *
 * PyPy has no cheap C API but cheap callbacks: there everything goes through the crossings of
 * callbacks.h. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_leave(uvb_loop *loop) { (void)loop; }

void uvb_python_poll(uvb_handle *handle, int status, int events) {
  uvb_on_poll(handle->self, status, events);
}

void uvb_python_request(uvb_request *request, int status) {
  uvb_on_request(request->self, status);
}

void uvb_python_later(uvb_loop *loop, int early) { uvb_on_later(loop->self, early); }

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

/* callback(object, payload, None), for a handle: it may close it, or have another callback be its. */
void uvb_hand_over(uvb_handle *handle, PyObject *payload) {
  PyObject *object = handle->object, *callback = handle->on_read, *result;

  Py_INCREF(object);
  Py_INCREF(callback);
  result = PyObject_CallFunctionObjArgs(callback, object, payload, Py_None, NULL);
  if (result == NULL)
    uvb_report();
  Py_XDECREF(result);
  Py_DECREF(callback);
  Py_DECREF(object);
}

/* Errors are left to the crossing. */
void uvb_python_poll(uvb_handle *handle, int status, int events) {
  PyObject *number;

  if (status != 0) {
    uvb_on_poll(handle->self, status, events);
    return;
  }
  uvb_enter(handle->loop);
  number = PyLong_FromLong(events);
  if (number == NULL)
    uvb_report();
  else
    uvb_hand_over(handle, number);
  Py_XDECREF(number);
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

void uvb_python_later(uvb_loop *loop, int early) {
  PyObject *object = loop->object, *result;

  uvb_enter(loop);
  Py_INCREF(object);
  result = PyObject_CallMethodObjArgs(object, run_later, early ? Py_True : Py_False, NULL);
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

static PyMethodDef builtins[] = {
    {"loop", loop_object, METH_VARARGS, NULL},
    {"request", request, METH_VARARGS, NULL},
    {"writer", uvb_writer, METH_O, NULL},
    {"try_writer", uvb_try_writer, METH_O, NULL},
    {"reader", uvb_reader, METH_VARARGS, NULL},
#ifndef _WIN32
    {"receive", uvb_receive, METH_VARARGS, NULL},
#ifdef SOCK_NONBLOCK
    {"accept", uvb_accept, METH_O, NULL},
#endif
#endif
    {"senders", uvb_senders, METH_VARARGS, NULL},
    {"resolver", uvb_resolver, METH_VARARGS, NULL},
};

/* Called through cffi, which has let go of the GIL. */
int uvb_install(void *dict) {
  enum { COUNT = sizeof builtins / sizeof *builtins };
  PyGILState_STATE state = PyGILState_Ensure();
  int installed = 0, ready;

  failed = PyDict_GetItemString(dict, "failed");
  Py_XINCREF(failed);
  complete = PyUnicode_InternFromString("_complete");
  run_later = PyUnicode_InternFromString("_run_later");
  ready = failed != NULL && complete != NULL && run_later != NULL && uvb_stream_names();
  for (int i = 0; ready && i < COUNT; i++) {
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
