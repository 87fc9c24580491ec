/* Cores: who keeps what for libuv, on CPython.
 *
 * Each loop, handle and request of Python's has a core, an object of the type below. The core owns
 * the C memory and a reference to everything that C calls or that libuv reads and writes. The core
 * of a loop owns those of the handles and requests that libuv has, from the step that gives them to
 * libuv on until libuv's last callback of theirs. So nothing that Python does or leaves undone, and
 * no order in which it does it, takes an object away from under libuv; and the garbage collector
 * sees each of these references, so that a loop that the program drops unclosed is found.
 *
 * A loop that runs is kept by the C function that runs it.
 *
 * All of it needs the GIL. */
#include "python.h"

#ifndef PYPY_VERSION

static PyTypeObject *core_type;

static uvb_core *new_core(int kind, void *memory, PyObject *object) {
  uvb_core *core = (uvb_core *)PyType_GenericAlloc(core_type, 0);

  if (core != NULL) {
    core->kind = kind;
    core->half.memory = memory;
    Py_INCREF(object);
    core->object = object;
  }
  return core;
}

static void set(PyObject **place, PyObject *object) {
  PyObject *before = *place;

  Py_XINCREF(object);
  *place = object; /* before the old one goes, which may run any code */
  Py_XDECREF(before);
}

void uvb_core_call(uvb_core *core, PyObject *callback, PyObject *protocol, PyObject *raised) {
  PyObject *before[] = {core->on_read, core->protocol, core->raised};

  Py_XINCREF(callback);
  Py_XINCREF(protocol);
  Py_XINCREF(raised);
  core->on_read = callback;
  core->protocol = protocol;
  core->raised = raised;
  for (int i = 0; i < 3; i++) /* after all: what goes may run any code */
    Py_XDECREF(before[i]);
}

void uvb_core_return(uvb_core *core) {
  Py_buffer lent = core->lent;

  if (core->kind == UVB_HANDLE && core->half.handle != NULL)
    core->half.handle->into = NULL;
  core->lent.obj = NULL;
  if (lent.obj != NULL)
    PyBuffer_Release(&lent);
}

/* -- the ring of a loop */

static void adopt(uvb_core *core) {
  uvb_core *loop = core->loop;

  if (core->next != NULL)
    return;
  if (loop->next == NULL)
    loop->next = loop->previous = loop;
  core->next = loop;
  core->previous = loop->previous;
  core->previous->next = loop->previous = core;
  Py_INCREF((PyObject *)core);
}

static void abandon(uvb_core *core) {
  if (core->kind == UVB_LOOP || core->next == NULL)
    return;
  core->previous->next = core->next;
  core->next->previous = core->previous;
  core->next = core->previous = NULL;
  Py_DECREF((PyObject *)core);
}

static uvb_core *first_of(uvb_core *loop) { return loop->next != loop ? loop->next : NULL; }

/* -- letting go */

static int clear(PyObject *self) {
  uvb_core *core = (uvb_core *)self;
  uvb_known_sender *senders = core->senders;

  if (core->kind == UVB_LOOP)
    for (uvb_core *one; (one = first_of(core)) != NULL;) {
      Py_INCREF((PyObject *)one);
      abandon(one);
      clear((PyObject *)one);
      Py_DECREF((PyObject *)one);
    }
  core->senders = NULL;
  uvb_forget_senders(senders);
  uvb_core_return(core);
  uvb_core_call(core, NULL, NULL, NULL);
  uvb_core_unqueue(core);
  set(&core->kept, NULL);
  set(&core->pin, NULL);
  set(&core->object, NULL);
  return 0;
}

void uvb_core_release(uvb_core *core) {
  Py_INCREF((PyObject *)core);
  abandon(core);
  clear((PyObject *)core);
  Py_DECREF((PyObject *)core);
}

static int traverse(PyObject *self, visitproc visit, void *arg) {
  uvb_core *core = (uvb_core *)self;

  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)core->loop);
  Py_VISIT(core->object);
  Py_VISIT(core->pin);
  Py_VISIT(core->on_read);
  Py_VISIT(core->protocol);
  Py_VISIT(core->raised);
  Py_VISIT(core->kept);
  Py_VISIT(core->first);
  Py_VISIT(core->queue);
  Py_VISIT((PyObject *)core->unsent);
  Py_VISIT(core->lent.obj);
  if (core->kind == UVB_LOOP && core->next != NULL)
    for (uvb_core *one = core->next; one != core; one = one->next)
      Py_VISIT((PyObject *)one);
  return 0;
}

static void dealloc(PyObject *self) {
  uvb_core *core = (uvb_core *)self;
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  clear(self);
  if (core->half.memory == NULL) /* it could not be made */
    ;
  else if (core->kind == UVB_LOOP)
    uvb_loop_free(core->half.loop);
  else if (core->kind == UVB_HANDLE)
    uvb_handle_free(core->half.handle);
  else
    uvb_request_free(core->half.request);
  Py_XDECREF((PyObject *)core->loop); /* last: the others look at its memory */
  PyObject_GC_Del(self);
  Py_DECREF((PyObject *)type);
}

/* -- making them */

static void *pinned(uvb_core *core, PyObject *pin, PyObject *address) {
  set(&core->pin, pin);
  return PyLong_AsVoidPtr(address);
}

/* loop(object, pin, address of the pin) -> a core, or libuv's error. */
PyObject *uvb_loop_core(PyObject *module, PyObject *args) {
  PyObject *object, *pin, *address;
  uvb_core *core;
  int err;
  (void)module;

  if (!PyArg_UnpackTuple(args, "loop", 3, 3, &object, &pin, &address))
    return NULL;
  core = new_core(UVB_LOOP, NULL, object);
  if (core == NULL)
    return NULL;
  core->half.loop = uvb_loop_new(pinned(core, pin, address), &err);
  if (core->half.loop == NULL) {
    Py_DECREF((PyObject *)core);
    return PyLong_FromLong(err);
  }
  core->half.loop->core = core;
  return (PyObject *)core;
}

static uvb_core *of_kind(PyObject *self, int kind, const char *name) {
  uvb_core *core = (uvb_core *)self;

  if (Py_TYPE(self) == core_type && (int)core->kind == kind)
    return core;
  PyErr_Format(PyExc_TypeError, "expected the core of a %s", name);
  return NULL;
}

uvb_loop *uvb_core_loop(PyObject *self) {
  uvb_core *core = of_kind(self, UVB_LOOP, "loop");
  return core == NULL ? NULL : core->half.loop;
}

uvb_handle *uvb_core_handle(PyObject *self) {
  uvb_core *core = of_kind(self, UVB_HANDLE, "handle");
  return core == NULL ? NULL : core->half.handle;
}

uvb_handle *uvb_core_stream(PyObject *self) {
  uvb_handle *handle = uvb_core_handle(self);

  if (handle == NULL || handle->uv.handle.type == UV_TCP ||
      handle->uv.handle.type == UV_NAMED_PIPE)
    return handle;
  PyErr_SetString(PyExc_TypeError, "expected the core of a stream");
  return NULL;
}

uvb_request *uvb_core_request(PyObject *self) {
  uvb_core *core = of_kind(self, UVB_REQUEST, "request");
  return core == NULL ? NULL : core->half.request;
}

static uvb_core *part_of(PyObject *loop, int kind, PyObject *object) {
  uvb_core *core = new_core(kind, NULL, object);

  if (core != NULL) {
    Py_INCREF(loop);
    core->loop = (uvb_core *)loop;
  }
  return core;
}

/* loop.handle(object, pin, address of the pin) -> the core of a handle that libuv does not have. */
static PyObject *new_handle(PyObject *self, PyObject *args) {
  PyObject *object, *pin, *address;
  uvb_loop *loop = uvb_core_loop(self);
  uvb_core *core;

  if (loop == NULL || !PyArg_UnpackTuple(args, "handle", 3, 3, &object, &pin, &address))
    return NULL;
  core = part_of(self, UVB_HANDLE, object);
  if (core == NULL)
    return NULL;
  core->half.handle = uvb_handle_new(loop, pinned(core, pin, address));
  if (core->half.handle == NULL) {
    Py_DECREF((PyObject *)core);
    return PyErr_NoMemory();
  }
  core->half.handle->core = core;
  return (PyObject *)core;
}

/* handle.init(type, argument) -> 0, and libuv has it; or libuv's error. */
static PyObject *init(PyObject *self, PyObject *args) {
  uvb_handle *handle = uvb_core_handle(self);
  int type, argument, err;

  if (handle == NULL || !PyArg_ParseTuple(args, "ii", &type, &argument))
    return NULL;
  err = uvb_handle_init(handle, type, argument);
  if (err == 0)
    adopt((uvb_core *)self);
  return PyLong_FromLong(err);
}

/* loop.request(object, kept) -> the core of a request that is about to be submitted. `kept` is
 * what libuv reads until the request is done. */
static PyObject *new_request(PyObject *self, PyObject *args) {
  PyObject *object, *kept;
  uvb_loop *loop = uvb_core_loop(self);
  uvb_core *core;

  if (loop == NULL || !PyArg_UnpackTuple(args, "request", 2, 2, &object, &kept))
    return NULL;
  core = part_of(self, UVB_REQUEST, object);
  if (core == NULL)
    return NULL;
  set(&core->kept, kept);
  core->half.request = uvb_request_new(loop, NULL);
  if (core->half.request == NULL) {
    Py_DECREF((PyObject *)core);
    return PyErr_NoMemory();
  }
  core->half.request->core = core;
  adopt(core);
  return (PyObject *)core;
}

/* -- their other methods */

/* loop.run(mode, thread) -> whether there is more, or libuv's error. */
static PyObject *run(PyObject *self, PyObject *args) {
  uvb_loop *loop = uvb_core_loop(self);
  unsigned long thread;
  int mode, more;

  if (loop == NULL || !PyArg_ParseTuple(args, "ik", &mode, &thread))
    return NULL;
  /* This reference is C's: when the interpreter ends, it clears the frames of a thread that still
   * runs, and with them what Python keeps. */
  Py_INCREF(self);
  more = uvb_loop_run(loop, mode, thread);
  Py_DECREF(self);
  return PyLong_FromLong(more);
}

/* loop.close() -> 0 or libuv's error; release() comes next. */
static PyObject *close_loop(PyObject *self, PyObject *none) {
  uvb_loop *loop = uvb_core_loop(self);
  int err;
  (void)none;

  if (loop == NULL)
    return NULL;
  err = uvb_loop_close(loop);
  return PyLong_FromLong(err);
}

/* loop.handles() -> the Python objects of the handles that libuv has, closing ones included. */
static PyObject *handles(PyObject *self, PyObject *none) {
  uvb_core *loop = (uvb_core *)self;
  PyObject *list;
  (void)none;

  if (uvb_core_loop(self) == NULL)
    return NULL;
  list = PyList_New(0);
  if (list == NULL || loop->next == NULL)
    return list;
  for (uvb_core *one = loop->next; one != loop; one = one->next)
    if (one->kind == UVB_HANDLE && one->object != NULL && PyList_Append(list, one->object) != 0) {
      Py_DECREF(list);
      return NULL;
    }
  return list;
}

/* release(): libuv does not have it; C keeps nothing for it any more. */
static PyObject *release(PyObject *self, PyObject *none) {
  uvb_core *core = (uvb_core *)self;
  (void)none;

  if (core->kind == UVB_REQUEST)
    uvb_request_done(core->half.request);
  else if (core->kind == UVB_LOOP ? !core->half.loop->closed
                                  : core->half.handle->uv.handle.type != UV_UNKNOWN_HANDLE &&
                                        !core->half.handle->closed) {
    PyErr_SetString(PyExc_RuntimeError, "libuv still has it");
    return NULL;
  }
  uvb_core_release(core);
  Py_RETURN_NONE;
}

static PyObject *address(PyObject *self, void *closure) {
  (void)closure;
  return PyLong_FromVoidPtr(((uvb_core *)self)->half.memory);
}

/* libuv is done with a handle, and C is when this returns. */
void uvb_python_closed(uvb_handle *handle) {
  uvb_core *core = handle->core;

  uvb_python_enter(handle->loop);
  Py_INCREF((PyObject *)core);
  abandon(core);
  uvb_on_close(handle->self);
  clear((PyObject *)core);
  Py_DECREF((PyObject *)core);
}

static PyMethodDef methods[] = {
    {"handle", new_handle, METH_VARARGS, NULL},
    {"request", new_request, METH_VARARGS, NULL},
    {"run", run, METH_VARARGS, NULL},
    {"close", close_loop, METH_NOARGS, NULL},
    {"handles", handles, METH_NOARGS, NULL},
    {"init", init, METH_VARARGS, NULL},
    {"release", release, METH_NOARGS, NULL},
    {"read_start", uvb_read_start, METH_VARARGS, NULL},
    {"read_stop", uvb_read_stop, METH_NOARGS, NULL},
    {"forget_calls", uvb_forget_calls, METH_NOARGS, NULL},
    {"lend", uvb_lend, METH_O, NULL},
    {"write_now", uvb_write_now_method, METH_O, NULL},
    {"send", (PyCFunction)(void (*)(void))uvb_send_method, METH_FASTCALL, NULL},
    {"flush", uvb_flush_method, METH_NOARGS, NULL},
    {"set_bound", uvb_set_bound_method, METH_O, NULL},
    {"recv_start", uvb_recv_start, METH_VARARGS, NULL},
    {"senders", uvb_senders, METH_O, NULL},
    {"poll_start", uvb_poll_start_method, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* How many bytes wait to be sent. */
static PyObject *queued(PyObject *self, void *closure) {
  (void)closure;
  return PyLong_FromSize_t(((uvb_core *)self)->queued);
}

static PyGetSetDef attributes[] = {{"address", address, NULL, NULL, NULL},
                                   {"queued", queued, NULL, NULL, NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

/* ISO C has no conversion of a function to void *. */
static PyType_Slot slots[] = {
    {Py_tp_dealloc, (void *)(uintptr_t)dealloc},   {Py_tp_traverse, (void *)(uintptr_t)traverse},
    {Py_tp_clear, (void *)(uintptr_t)clear},       {Py_tp_methods, methods},
    {Py_tp_getset, attributes},                    {0, NULL},
};

static PyType_Spec spec = {
    "uvbind._uvbind.Core", (int)sizeof(uvb_core), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

int uvb_core_ready(void) {
  core_type = (PyTypeObject *)PyType_FromSpec(&spec);
  return core_type != NULL;
}

#endif
