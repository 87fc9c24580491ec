/* Writes of transports: all that one turn of the loop writes to a connection leaves with one system
 * call.
 *
 * A server writes the head of an answer and then its body. Each of the two would be a system call,
 * and for a small answer the system calls are the largest part of the cost. So C queues the bytes,
 * and sends them right before libuv polls again, or at once when they are more than the connection's
 * bound. Nothing is queued while the loop does not run: there would be no end of a turn.
 *
 * The queue keeps the transport. The transport's method `_unsent(rest)` is called with the bytes that
 * the socket did not take, or with libuv's error. */
#include "python.h"

#ifdef PYPY_VERSION

void uvb_python_turn_ends(uvb_loop *loop) { (void)loop; }

#else

enum { BUFFERS = 64 }; /* so many leave with one system call, and no more wait */

static PyObject *unsent; /* "_unsent" */

int uvb_writes_names(void) {
  unsent = PyUnicode_InternFromString("_unsent");
  return unsent != NULL;
}

static Py_ssize_t pieces(const uvb_core *core) {
  return 1 + (core->queue == NULL ? 0 : PyList_Size(core->queue));
}

static PyObject *piece(const uvb_core *core, Py_ssize_t index) {
  return index == 0 ? core->first : PyList_GetItem(core->queue, index - 1);
}

/* A view of the bytes behind the first `skip`: nobody changes them, so they need not be copied. */
static PyObject *view_of(PyObject *bytes, size_t skip) {
  PyObject *view = PyMemoryView_FromObject(bytes), *rest = NULL;

  if (view != NULL)
    rest = PySequence_GetSlice(view, (Py_ssize_t)skip, PyBytes_Size(bytes));
  Py_XDECREF(view);
  return rest;
}

/* The bytes from a piece on, without the first `skip` of them. */
static PyObject *rest_from(const uvb_core *core, Py_ssize_t index, size_t skip) {
  Py_ssize_t count = pieces(core), size = 0;
  PyObject *rest;
  char *place;

  if (index == count - 1)
    return view_of(piece(core, index), skip);
  for (Py_ssize_t i = index; i < count; i++)
    size += PyBytes_Size(piece(core, i));
  rest = PyBytes_FromStringAndSize(NULL, size - (Py_ssize_t)skip);
  if (rest == NULL)
    return NULL;
  place = PyBytes_AsString(rest);
  for (Py_ssize_t i = index; i < count; i++) {
    PyObject *bytes = piece(core, i);
    size_t length = (size_t)PyBytes_Size(bytes) - skip;
    memcpy(place, PyBytes_AsString(bytes) + skip, length);
    place += length;
    skip = 0;
  }
  return rest;
}

/* Send what is queued. NULL when the socket took all, else the bytes that are left, or an error; also
 * NULL with an exception set. */
static PyObject *send_all(const uvb_core *core) {
  unsigned int count = (unsigned int)pieces(core), index = 0;
  uv_buf_t buffers[BUFFERS];
  size_t left;
  int sent;

  for (unsigned int i = 0; i < count; i++) {
    PyObject *bytes = piece(core, i);
    buffers[i] = uv_buf_init(PyBytes_AsString(bytes), (unsigned int)PyBytes_Size(bytes));
  }
  sent = uv_try_write(&core->half.handle->uv.stream, buffers, count);
  if (sent < 0 && sent != UV_EAGAIN)
    return PyLong_FromLong(sent);
  left = sent < 0 ? 0 : (size_t)sent;
  if (left == core->queued)
    return NULL;
  for (; left >= buffers[index].len; index++)
    left -= buffers[index].len;
  return rest_from(core, index, left);
}

/* Tell the transport of the rest. A signal handler may raise in there: then it is told once more,
 * that the connection has failed, since bytes are missing from it. 0 unless something raised. */
static int tell(PyObject *transport, PyObject *rest) {
  PyObject *result = PyObject_CallMethodObjArgs(transport, unsent, rest, NULL), *number;
  PyObject *type, *value, *traceback;

  if (result == NULL) {
    PyErr_Fetch(&type, &value, &traceback);
    number = PyLong_FromLong(UV_ECONNABORTED);
    if (number != NULL)
      result = PyObject_CallMethodObjArgs(transport, unsent, number, NULL);
    if (result == NULL)
      PyErr_WriteUnraisable(transport);
    Py_XDECREF(number);
    PyErr_Restore(type, value, traceback);
  }
  Py_XDECREF(result);
  return PyErr_Occurred() ? -1 : 0;
}

/* The connection is closed, or is the parent's, which sends what it has queued. */
static int is_over(uvb_handle *handle) {
  return handle->loop->forked || uv_is_closing(&handle->uv.handle);
}

/* Forget what waits. A loop forgets which of its streams have something that does. */
void uvb_core_unqueue(uvb_core *core) {
  PyObject *first = core->first, *queue = core->queue;
  uvb_core *stream = core->unsent;

  core->first = core->queue = NULL;
  core->queued = 0;
  Py_XDECREF(first);
  Py_XDECREF(queue);
  if (core->kind != UVB_LOOP)
    return; /* a stream may be in the middle of its loop's */
  core->unsent = core->last_unsent = NULL;
  while (stream != NULL) {
    uvb_core *next = stream->unsent;
    stream->unsent = NULL;
    Py_DECREF((PyObject *)stream);
    stream = next;
  }
}

static int flush(uvb_core *core) {
  PyObject *transport = core->kept, *rest;
  int failed = 0;

  if (core->queued == 0)
    return 0;
  rest = is_over(core->half.handle) ? NULL : send_all(core);
  if (rest == NULL && PyErr_Occurred()) { /* no memory for it */
    PyErr_Clear();
    rest = PyLong_FromLong(UV_ENOMEM);
  }
  core->kept = NULL;
  uvb_core_unqueue(core);
  if (rest != NULL)
    failed = tell(transport, rest);
  Py_XDECREF(rest);
  Py_DECREF(transport);
  return failed;
}

/* stream.flush(): send now what is queued. */
PyObject *uvb_flush_method(PyObject *self, PyObject *none) {
  (void)none;
  if (uvb_core_stream(self) == NULL || flush((uvb_core *)self) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* Whether a write can wait for the end of the turn: the loop runs, in this thread. */
static int can_wait(uvb_handle *handle) {
  const uvb_loop *loop = handle->loop;
  return loop->running && !loop->forked && loop->owner == PyThread_get_thread_ident() &&
         !uv_is_closing(&handle->uv.handle) && uv_is_writable(&handle->uv.stream);
}

/* The stream has something that waits: the loop sends it when the turn ends. */
static void wait_for_end(uvb_core *core) {
  uvb_core *loop = core->loop;

  if (core->unsent != NULL || loop->last_unsent == core)
    return; /* what it had before was sent meanwhile */
  if (loop->last_unsent == NULL)
    loop->unsent = core;
  else
    loop->last_unsent->unsent = core;
  loop->last_unsent = core;
  Py_INCREF((PyObject *)core);
}

static int enqueue(uvb_core *core, PyObject *transport, PyObject *data) {
  if (core->queued == 0) {
    Py_INCREF(data);
    core->first = data;
    Py_INCREF(transport);
    core->kept = transport;
    wait_for_end(core);
  } else {
    if (core->queue == NULL && (core->queue = PyList_New(0)) == NULL)
      return -1;
    if (PyList_Append(core->queue, data) != 0)
      return -1;
  }
  core->queued += (size_t)PyBytes_Size(data);
  return 0;
}

/* stream.send(transport, bytes): send them before the loop polls again, behind what waits already.
 * transport._unsent() gets bytes that cannot wait. */
PyObject *uvb_send_method(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
  uvb_core *core = (uvb_core *)self;
  uvb_handle *handle = uvb_core_stream(self);
  PyObject *transport, *data;
  Py_ssize_t size;

  if (handle == NULL)
    return NULL;
  if (count != 2 || !PyBytes_CheckExact(arguments[1])) {
    PyErr_SetString(PyExc_TypeError, "send: expected a transport and bytes");
    return NULL;
  }
  transport = arguments[0];
  data = arguments[1];
  size = PyBytes_Size(data);
  if (size == 0)
    Py_RETURN_NONE;
  if (size > INT32_MAX / BUFFERS || !can_wait(handle)) {
    if (flush(core) != 0)
      return NULL;
    return PyObject_CallMethodObjArgs(transport, unsent, data, NULL);
  }
  if (enqueue(core, transport, data) != 0)
    return NULL;
  if ((core->queued > core->bound || pieces(core) == BUFFERS) && flush(core) != 0)
    return NULL;
  Py_RETURN_NONE;
}

/* stream.set_bound(bytes): more than so many do not wait for the end of the turn. */
PyObject *uvb_set_bound_method(PyObject *self, PyObject *number) {
  size_t bound = PyLong_AsSize_t(number);

  if (uvb_core_stream(self) == NULL || PyErr_Occurred())
    return NULL;
  ((uvb_core *)self)->bound = bound;
  Py_RETURN_NONE;
}

/* Before libuv polls, between that and the calls that are ready, and when the loop returns. */
void uvb_python_turn_ends(uvb_loop *loop) {
  uvb_core *core, *of_loop = loop->core;

  if (of_loop == NULL || of_loop->unsent == NULL)
    return;
  uvb_python_enter(loop);
  while ((core = of_loop->unsent) != NULL) { /* a protocol may write more meanwhile */
    of_loop->unsent = core->unsent;
    core->unsent = NULL;
    if (of_loop->last_unsent == core)
      of_loop->last_unsent = NULL;
    if (flush(core) != 0)
      uvb_report();
    Py_DECREF((PyObject *)core);
  }
}

#endif
