/* The readers and writers of the asyncio loop, on CPython: which descriptors the kernel watches for
 * them, and which handles an event makes ready. uvbind/aio/_readiness.py has the same in Python.
 *
 * The kernel's set is an epoll of its own. libuv polls the descriptor of that epoll, and never sees
 * those in it: the kernel forgives a program that closes one of them, libuv does not. An event names
 * its descriptor and the registration that it belongs to, so that one of a descriptor that was closed
 * does not reach the next owner of its number.
 *
 * All of it needs the GIL. */
#include "python_epoll.h"

#if UVB_HAS_EPOLL

enum { READING, WRITING };

static const uint32_t BIT[] = {EPOLLIN, EPOLLOUT};

typedef struct {
  PyObject *handles[2]; /* by side: owned */
  PyObject *object;     /* that the program gave in the place of a number; owned */
  uint32_t watched;     /* what the kernel tells; 0: the descriptor is not in its set */
  uint32_t generation;  /* of this registration of the descriptor */
} entry;

typedef struct {
  PyObject_HEAD
  uvb_epoll set; /* first: `on_ready` and the rest share it */
  entry *entries; /* by descriptor */
  size_t room;
} readiness;

static readiness *of(PyObject *self) { return (readiness *)self; }

static entry *entry_of(PyObject *self, long fd) {
  return fd >= 0 && (size_t)fd < of(self)->room ? &of(self)->entries[fd] : NULL;
}

static int has_room(PyObject *self, int fd) {
  return uvb_epoll_grow((void **)&of(self)->entries, &of(self)->room, sizeof(entry), fd);
}

static int control(PyObject *self, int operation, int fd, uint32_t events) {
  struct epoll_event event = {.events = events};

  event.data.u64 = (uint64_t)of(self)->entries[fd].generation << 32 | (uint32_t)fd;
  return epoll_ctl(of(self)->set.fd, operation, fd, &event);
}

/* Take all out of an entry; the caller owns it then. */
static entry take(PyObject *self, int fd) {
  entry *place = &of(self)->entries[fd], taken = *place;

  memset(place, 0, sizeof *place);
  place->generation = taken.generation;
  return taken;
}

static int cancel(PyObject *handle) {
  PyObject *result = handle == NULL ? NULL : PyObject_CallMethod(handle, "cancel", NULL);
  int err = handle != NULL && result == NULL ? -1 : 0;

  Py_XDECREF(result);
  Py_XDECREF(handle);
  return err;
}

/* The descriptor was closed: forget it, and cancel the handles. */
static int drop(PyObject *self, int fd) {
  entry taken = take(self, fd);
  int err = cancel(taken.handles[READING]);

  if (cancel(taken.handles[WRITING]) != 0)
    err = -1;
  Py_XDECREF(taken.object);
  return err;
}

/* Have the kernel watch one side more: 0, or -1 with errno set. A descriptor that the kernel does not
 * know was closed, and its number may be another's, who is told of this side only. */
static int watch(PyObject *self, int fd, int side) {
  entry *place = &of(self)->entries[fd];

  if (place->watched != 0) {
    if (control(self, EPOLL_CTL_MOD, fd, place->watched | BIT[side]) == 0)
      return 0;
    if (errno != ENOENT)
      return -1;
    if (drop(self, fd) != 0)
      PyErr_WriteUnraisable(self);
    return watch(self, fd, side); /* a callback that went may have had the number watched in __del__ */
  }
  place->generation++;
  if (control(self, EPOLL_CTL_ADD, fd, BIT[side]) == 0)
    return 0;
  return errno == EEXIST ? control(self, EPOLL_CTL_MOD, fd, BIT[side]) : -1;
}

static PyObject *new_handle(uvb_scheduler *loop, PyObject *const *args, Py_ssize_t count,
                            PyObject *names) {
  PyObject *context = NULL;

  if (!loop->debug && count > 0 && uvb_scheduler_takes(count, args, names, &context))
    return uvb_new_call(UVB_SOON, (PyObject *)loop, args, count, context);
  return PyErr_Occurred() ? NULL : uvb_scheduler_slowly((PyObject *)loop, "_new_handle", args, count, names);
}

/* add_*(fd, object, callback, *args) -> handle; `object` is what the program gave for the number. */
static PyObject *add(PyObject *self, int side, PyObject *const *args, Py_ssize_t count,
                     PyObject *names) {
  PyObject *handle, *before;
  entry *place;
  int fd, failed = 0;

  if (count < 3)
    return PyErr_Format(PyExc_TypeError, "a descriptor, an object and a callback are needed");
  if (!uvb_epoll_usable(&of(self)->set) || !uvb_epoll_number(args[0], &fd))
    return NULL;
  handle = new_handle(of(self)->set.loop, args + 2, count - 2, names);
  if (handle == NULL || !has_room(self, fd)) {
    Py_XDECREF(handle);
    return NULL;
  }
  if (watch(self, fd, side) != 0) {
    PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF(handle);
    if (of(self)->entries[fd].watched != 0) {
      PyObject *type, *value, *traceback;
      PyErr_Fetch(&type, &value, &traceback);
      if (drop(self, fd) != 0)
        PyErr_WriteUnraisable(self);
      PyErr_Restore(type, value, traceback);
    }
    return NULL;
  }
  place = &of(self)->entries[fd];
  before = place->handles[side];
  Py_INCREF(handle);
  place->handles[side] = handle;
  place->watched |= BIT[side];
  if (place->object == NULL && args[1] != args[0]) {
    Py_INCREF(args[1]);
    place->object = args[1];
  }
  failed = cancel(before);
  if (failed)
    Py_CLEAR(handle);
  return handle;
}

static PyObject *add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names) {
  return add(self, READING, args, count, names);
}

static PyObject *add_writer(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names) {
  return add(self, WRITING, args, count, names);
}

/* remove_*(fd) -> whether there was one. */
static PyObject *remove_side(PyObject *self, int side, PyObject *number) {
  const long fd = PyLong_AsLong(number);
  entry *place = entry_of(self, fd);
  PyObject *before, *object = NULL;
  uint32_t left;
  int err = 0;

  if (fd == -1 && PyErr_Occurred())
    return NULL;
  if (place == NULL || place->handles[side] == NULL || !uvb_epoll_opened(&of(self)->set))
    Py_RETURN_FALSE;
  if (!uvb_epoll_usable(&of(self)->set))
    return NULL;
  left = place->watched & ~BIT[side];
  before = place->handles[side];
  place->handles[side] = NULL;
  place->watched = left;
  if (left == 0) {
    object = place->object;
    place->object = NULL;
    control(self, EPOLL_CTL_DEL, (int)fd, 0); /* fails for one that was closed */
  } else if (control(self, EPOLL_CTL_MOD, (int)fd, left) != 0)
    err = drop(self, (int)fd);
  if (cancel(before) != 0)
    err = -1;
  Py_XDECREF(object);
  if (err != 0)
    return NULL;
  Py_RETURN_TRUE;
}

static PyObject *remove_reader(PyObject *self, PyObject *fd) {
  return remove_side(self, READING, fd);
}

static PyObject *remove_writer(PyObject *self, PyObject *fd) {
  return remove_side(self, WRITING, fd);
}

/* -- events */

static int make_ready(PyObject *self, PyObject *handle) {
  PyObject *result = uvb_add_callback((PyObject *)of(self)->set.loop, handle); /* unless cancelled */

  Py_XDECREF(result);
  return result == NULL ? -1 : 0;
}

static int tell(PyObject *self, const struct epoll_event *event) {
  const int fd = (int)(uint32_t)event->data.u64;
  entry *place = entry_of(self, fd);

  if (place == NULL || place->generation != event->data.u64 >> 32)
    return 0;
  if (place->handles[READING] != NULL && event->events & ~(uint32_t)EPOLLOUT &&
      make_ready(self, place->handles[READING]) != 0)
    return -1;
  if (place->handles[WRITING] != NULL && event->events & ~(uint32_t)EPOLLIN)
    return make_ready(self, place->handles[WRITING]);
  return 0;
}

/* on_ready(poll, events, error): libuv has found the set readable. */
static PyObject *on_ready(PyObject *self, PyObject *args) {
  struct epoll_event found[UVB_EPOLL_AT_ONCE];
  const int count = uvb_epoll_poll(&of(self)->set, found);
  int err = 0;
  (void)args;

  for (int i = 0; i < count && err == 0; i++)
    err = tell(self, &found[i]);
  if (count > 0)
    uvb_scheduler_wake(of(self)->set.loop);
  if (err != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* -- for Python */

/* forget(fd) -> (reader, writer), which are watched no more and not cancelled; None: there is none. */
static PyObject *forget(PyObject *self, PyObject *number) {
  const long fd = PyLong_AsLong(number);
  entry *place = entry_of(self, fd), taken;
  PyObject *pair;

  if (fd == -1 && PyErr_Occurred())
    return NULL;
  if (place == NULL || place->watched == 0)
    Py_RETURN_NONE;
  if (!uvb_epoll_usable(&of(self)->set))
    return NULL;
  pair = uvb_epoll_pair(place->handles);
  if (pair == NULL)
    return NULL;
  control(self, EPOLL_CTL_DEL, (int)fd, 0);
  taken = take(self, (int)fd);
  Py_XDECREF(taken.handles[READING]);
  Py_XDECREF(taken.handles[WRITING]);
  Py_XDECREF(taken.object);
  return pair;
}

/* list() -> (fd, object, (reader, writer)) of each descriptor. */
static PyObject *list(PyObject *self, PyObject *none) {
  PyObject *found = PyList_New(0);
  (void)none;

  for (size_t fd = 0; found != NULL && fd < of(self)->room; fd++) {
    const entry *place = &of(self)->entries[fd]; /* until the first allocation, which may collect garbage */
    PyObject *object = place->object == NULL ? Py_None : place->object, *pair, *each;
    if (place->watched == 0)
      continue;
    Py_INCREF(object);
    pair = uvb_epoll_pair(place->handles);
    each = Py_BuildValue("nNN", (Py_ssize_t)fd, object, pair); /* takes both over, also when it fails */
    if (each == NULL || PyList_Append(found, each) != 0)
      Py_CLEAR(found);
    Py_XDECREF(each);
  }
  return found;
}

static void forget_all(PyObject *self) {
  for (size_t fd = 0; fd < of(self)->room; fd++) {
    entry taken = take(self, (int)fd);
    Py_XDECREF(taken.handles[READING]);
    Py_XDECREF(taken.handles[WRITING]);
    Py_XDECREF(taken.object);
  }
}

static PyObject *number_of_set(PyObject *self, PyObject *none) {
  (void)none;
  return PyLong_FromLong(of(self)->set.fd);
}

static int traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)of(self)->set.loop);
  for (size_t fd = 0; fd < of(self)->room; fd++) {
    Py_VISIT(of(self)->entries[fd].handles[READING]);
    Py_VISIT(of(self)->entries[fd].handles[WRITING]);
    Py_VISIT(of(self)->entries[fd].object);
  }
  return 0;
}

static int clear(PyObject *self) {
  forget_all(self);
  Py_CLEAR(of(self)->set.loop);
  return 0;
}

static PyObject *close_set(PyObject *self, PyObject *none) {
  (void)none;
  uvb_epoll_close(&of(self)->set);
  clear(self);
  Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);

  PyObject_GC_UnTrack(self);
  uvb_epoll_close(&of(self)->set);
  clear(self);
  free(of(self)->entries);
  ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF((PyObject *)type);
}

static int init(PyObject *self, PyObject *args, PyObject *keywords) {
  (void)keywords;
  return uvb_epoll_init(&of(self)->set, args);
}

static PyObject *new_set(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *self = PyType_GenericAlloc(type, 0);
  (void)args;
  (void)keywords;
  if (self != NULL)
    of(self)->set.fd = -1;
  return self;
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"add_reader", FASTCALL(add_reader), NULL},
    {"add_writer", FASTCALL(add_writer), NULL},
    {"remove_reader", remove_reader, METH_O, NULL},
    {"remove_writer", remove_writer, METH_O, NULL},
    {"on_ready", on_ready, METH_VARARGS, NULL},
    {"forget", forget, METH_O, NULL},
    {"list", list, METH_NOARGS, NULL},
    {"fileno", number_of_set, METH_NOARGS, NULL},
    {"close", close_set, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)(uintptr_t)new_set},     {Py_tp_init, (void *)(uintptr_t)init},
    {Py_tp_dealloc, (void *)(uintptr_t)dealloc}, {Py_tp_traverse, (void *)(uintptr_t)traverse},
    {Py_tp_clear, (void *)(uintptr_t)clear},     {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {"uvbind.aio.ReadinessSet", (int)sizeof(readiness), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

/* readiness_type() -> ReadinessSet(loop), of a loop whose scheduler is in C. */
PyObject *uvb_readiness_type(PyObject *module, PyObject *none) {
  (void)module;
  (void)none;
  return PyType_FromSpec(&spec);
}

#endif
