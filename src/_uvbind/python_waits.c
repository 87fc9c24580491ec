/* The descriptors that tasks wait for once, in `sock_*` of the asyncio loop on CPython.
 *
 * They are in an epoll of their own, which libuv polls. A descriptor stays there after its event: the
 * next wait is one system call. EPOLLONESHOT disarms it until then, so that an entry of a descriptor
 * that was closed stays silent, even when its number is used again. uvbind/aio/_waits.py has the same
 * in Python.
 *
 * All of it needs the GIL. */
#include "python_waits.h"

#if UVB_HAS_EPOLL

enum { READING, WRITING };

typedef struct {
  uvb_wait *first[2]; /* by side; each is owned by the list that it is in */
  int known;          /* the kernel has the descriptor, unless it was closed since */
} entry;

typedef struct {
  PyObject_HEAD
  uvb_epoll set;
  entry *entries; /* by descriptor */
  size_t room;
  uvb_wait *told, **told_end; /* tasks that are to go on now */
} waits;

static waits *of(PyObject *self) { return (waits *)self; }

/* -- lists */

static void append(uvb_wait **place, uvb_wait *wait) {
  while (*place != NULL)
    place = &(*place)->next;
  *place = wait;
  wait->place = place;
  wait->next = NULL;
}

/* The caller owns the wait then. */
static void unlink_wait(uvb_wait *wait) {
  waits *self = of(wait->waits);

  *wait->place = wait->next;
  if (wait->next != NULL)
    wait->next->place = wait->place;
  if (self->told_end == &wait->next)
    self->told_end = wait->place;
  wait->place = NULL;
  wait->next = NULL;
}

static void tell(waits *self, uvb_wait **list) {
  while (*list != NULL) {
    uvb_wait *wait = *list;
    unlink_wait(wait);
    append(self->told_end, wait);
    self->told_end = &wait->next;
  }
}

static void forget(uvb_wait **list) {
  while (*list != NULL) {
    uvb_wait *wait = *list;
    unlink_wait(wait);
    Py_DECREF((PyObject *)wait);
  }
}

/* -- the kernel's set */

static int control(waits *self, int operation, int fd, uint32_t events) {
  struct epoll_event event = {.events = events};

  event.data.fd = fd;
  return epoll_ctl(self->set.fd, operation, fd, &event);
}

/* Have the kernel tell once of what a descriptor is waited for: 0, or -1 with errno set. */
static int arm(waits *self, int fd) {
  entry *place = &self->entries[fd];
  const uint32_t events = (place->first[READING] != NULL ? EPOLLIN : 0u) |
                          (place->first[WRITING] != NULL ? EPOLLOUT : 0u) | EPOLLONESHOT;

  if (place->known) {
    if (control(self, EPOLL_CTL_MOD, fd, events) == 0)
      return 0;
    place->known = 0;
    if (errno != ENOENT) /* else that was another file of this number */
      return -1;
  }
  if (control(self, EPOLL_CTL_ADD, fd, events) != 0 &&
      (errno != EEXIST || control(self, EPOLL_CTL_MOD, fd, events) != 0))
    return -1;
  place->known = 1;
  return 0;
}

/* When it cannot be watched the next call of the tasks that wait for it says so. */
static void arm_again(waits *self, int fd) {
  entry *place = &self->entries[fd];

  if ((place->first[READING] != NULL || place->first[WRITING] != NULL) && arm(self, fd) != 0) {
    tell(self, &place->first[READING]);
    tell(self, &place->first[WRITING]);
  }
}

/* Take a descriptor out of the set, if nobody waits for it. */
static void disarm(waits *self, int fd) {
  entry *place = (size_t)fd < self->room ? &self->entries[fd] : NULL;

  if (place == NULL || !place->known || place->first[READING] != NULL ||
      place->first[WRITING] != NULL || self->set.loop == NULL || self->set.loop->core == NULL ||
      self->set.loop->core->half.loop->forked)
    return;
  place->known = 0;
  if (self->set.fd != -1)
    control(self, EPOLL_CTL_DEL, fd, 0); /* fails for one that was closed */
}

/* Have a place for the descriptor in the table. The table may move: the first wait of each list stands
 * in a place of it. */
static int has_room(waits *self, int fd) {
  const size_t before = self->room;

  if (!uvb_epoll_grow((void **)&self->entries, &self->room, sizeof(entry), fd))
    return 0;
  for (size_t i = 0; self->room != before && i < before; i++)
    for (int side = READING; side <= WRITING; side++)
      if (self->entries[i].first[side] != NULL)
        self->entries[i].first[side]->place = &self->entries[i].first[side];
  return 1;
}

int uvb_waits_begin(uvb_wait *wait) {
  waits *self = of(wait->waits);

  if (!uvb_epoll_usable(&self->set) || !has_room(self, wait->fd))
    return -1;
  Py_INCREF((PyObject *)wait);
  append(&self->entries[wait->fd].first[wait->side], wait);
  if (arm(self, wait->fd) == 0)
    return 0;
  PyErr_SetFromErrno(PyExc_OSError);
  unlink_wait(wait);
  Py_DECREF((PyObject *)wait);
  return -1;
}

void uvb_waits_give_up(uvb_wait *wait) {
  waits *self = of(wait->waits);

  if (wait->place == NULL)
    return;
  unlink_wait(wait);
  disarm(self, wait->fd);
  Py_DECREF((PyObject *)wait);
}

/* -- events */

static int tell_later(waits *self) {
  while (self->told != NULL) {
    uvb_wait *wait = self->told;
    int err;
    unlink_wait(wait);
    err = uvb_wait_ready_later(wait);
    Py_DECREF((PyObject *)wait);
    if (err != 0)
      return -1;
  }
  return 0;
}

/* on_ready(poll, events, error): libuv has found the set readable. The calls that were ready before go
 * first. */
static PyObject *on_ready(PyObject *object, PyObject *args) {
  struct epoll_event found[UVB_EPOLL_AT_ONCE];
  waits *self = of(object);
  const int count = uvb_epoll_poll(&self->set, found);
  (void)args;

  for (int i = 0; i < count; i++) {
    const int fd = found[i].data.fd;
    if (found[i].events & ~(uint32_t)EPOLLOUT)
      tell(self, &self->entries[fd].first[READING]);
    if (found[i].events & ~(uint32_t)EPOLLIN)
      tell(self, &self->entries[fd].first[WRITING]);
    arm_again(self, fd);
  }
  while (self->told != NULL && self->set.loop != NULL && self->set.loop->count == 0) {
    uvb_wait *wait = self->told;
    int err;
    unlink_wait(wait);
    err = uvb_wait_ready(wait);
    Py_DECREF((PyObject *)wait);
    if (err != 0)
      return NULL; /* the loop calls rearm() */
  }
  if (tell_later(self) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* rearm(): tell once more what is ready, after an exception. */
static PyObject *rearm(PyObject *object, PyObject *none) {
  waits *self = of(object);
  (void)none;

  for (size_t fd = 0; self->set.fd != -1 && fd < self->room; fd++)
    arm_again(self, (int)fd);
  if (tell_later(self) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* -- for Python */

static PyObject *wait_for(PyObject *self, PyObject *number, int side) {
  int fd;

  if (of(self)->set.loop == NULL)
    return PyErr_Format(PyExc_RuntimeError, "Event loop is closed");
  return uvb_epoll_number(number, &fd)
             ? (PyObject *)uvb_new_wait(self, of(self)->set.loop, fd, side)
             : NULL;
}

/* reading(fd), writing(fd) -> what a coroutine awaits until a call is worth another try. */
static PyObject *reading(PyObject *self, PyObject *fd) { return wait_for(self, fd, READING); }
static PyObject *writing(PyObject *self, PyObject *fd) { return wait_for(self, fd, WRITING); }

static PyObject *release(PyObject *self, PyObject *number) {
  const long fd = PyLong_AsLong(number);

  if (fd == -1 && PyErr_Occurred())
    return NULL;
  if (fd >= 0)
    disarm(of(self), (int)fd);
  Py_RETURN_NONE;
}

static void forget_all(waits *self) {
  for (size_t fd = 0; fd < self->room; fd++) {
    forget(&self->entries[fd].first[READING]);
    forget(&self->entries[fd].first[WRITING]);
  }
  forget(&self->told);
}

static PyObject *number_of_set(PyObject *self, PyObject *none) {
  (void)none;
  return PyLong_FromLong(of(self)->set.fd);
}

/* -- the type */

static int visit_list(uvb_wait *wait, visitproc visit, void *arg) {
  for (; wait != NULL; wait = wait->next)
    Py_VISIT((PyObject *)wait);
  return 0;
}

static int traverse(PyObject *object, visitproc visit, void *arg) {
  waits *self = of(object);
  int result = visit_list(self->told, visit, arg);

  Py_VISIT(Py_TYPE(object));
  Py_VISIT((PyObject *)self->set.loop);
  for (size_t fd = 0; result == 0 && fd < self->room; fd++) {
    result = visit_list(self->entries[fd].first[READING], visit, arg);
    if (result == 0)
      result = visit_list(self->entries[fd].first[WRITING], visit, arg);
  }
  return result;
}

static int clear(PyObject *self) {
  forget_all(of(self));
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
  if (self != NULL) {
    of(self)->set.fd = -1;
    of(self)->told_end = &of(self)->told;
  }
  return self;
}

static PyMethodDef methods[] = {
    {"reading", reading, METH_O, NULL},
    {"writing", writing, METH_O, NULL},
    {"release", release, METH_O, NULL},
    {"rearm", rearm, METH_NOARGS, NULL},
    {"on_ready", on_ready, METH_VARARGS, NULL},
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

static PyType_Spec spec = {"uvbind.aio.Waits", (int)sizeof(waits), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

/* waits_type() -> Waits(loop), of a loop whose scheduler is in C. */
PyObject *uvb_waits_type(PyObject *module, PyObject *none) {
  (void)module;
  (void)none;
  return uvb_wait_type_ready() ? PyType_FromSpec(&spec) : NULL;
}

#endif
