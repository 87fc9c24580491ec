/* CPython's fast lane of name lookups: Python's tuples made with the C API. */
#include "python.h"

#ifndef PYPY_VERSION

/* The member of an enum of the socket module that `number` is, or the number itself. */
static PyObject *member(PyObject *members, int number) {
  PyObject *plain = PyLong_FromLong(number);
  PyObject *found = plain != NULL ? PyDict_GetItemWithError(members, plain) : NULL;

  if (found == NULL)
    return plain;
  Py_INCREF(found);
  Py_DECREF(plain);
  return found;
}

static PyObject *one_found(PyObject *self, const struct addrinfo *found) {
  PyObject *family = member(PyTuple_GetItem(self, 0), found->ai_family);
  PyObject *type = member(PyTuple_GetItem(self, 1), found->ai_socktype);
  PyObject *address = uvb_address_tuple(found->ai_addr);
  /* Whoever answers may put any bytes into a name. */
  PyObject *canonname =
      PyUnicode_DecodeFSDefault(found->ai_canonname != NULL ? found->ai_canonname : "");
  PyObject *tuple = NULL;

  if (family != NULL && type != NULL && address != NULL && canonname != NULL)
    tuple = Py_BuildValue("(OOiOO)", family, type, found->ai_protocol, canonname, address);
  Py_XDECREF(canonname);
  Py_XDECREF(address);
  Py_XDECREF(type);
  Py_XDECREF(family);
  return tuple;
}

static PyObject *all_found(PyObject *self, const struct addrinfo *found) {
  PyObject *list = PyList_New(0);

  for (; found != NULL && list != NULL; found = found->ai_next) {
    PyObject *tuple = one_found(self, found);
    if (tuple == NULL || PyList_Append(list, tuple) != 0) {
      Py_DECREF(list);
      list = NULL;
    }
    Py_XDECREF(tuple);
  }
  return list;
}

/* found(request) -> the results of the lookup that has this core, None when it failed. */
static PyObject *found(PyObject *self, PyObject *core) {
  const uvb_request *request = uvb_core_request(core);
  struct addrinfo *infos;
  PyObject *results = Py_None;

  if (request == NULL)
    return NULL;
  infos = request->uv.getaddrinfo.addrinfo;
  if (infos == NULL)
    Py_INCREF(results);
  else
    results = all_found(self, infos);
  return results;
}

/* Whether it is ASCII text that Python's idna codec leaves as it is: labels of 1 to 63 bytes, the last
 * of which may be empty, and together no more than a name can have. */
static int is_plain(const char *text, Py_ssize_t size) {
  Py_ssize_t label = 0;

  if (size < 1 || size > 255)
    return 0;
  for (Py_ssize_t i = 0; i < size; i++) {
    if (text[i] == '.' && label == 0)
      return 0;
    label = text[i] == '.' ? 0 : label + 1;
    if (label > 63 || text[i] == 0 || (text[i] & 0x80) != 0)
      return 0;
  }
  return 1;
}

typedef struct {
  PyObject *encoded; /* what `host` is in: to be let go of */
  const char *host, *port;
  PyObject *at; /* the core of a loop, or of a request */
  int family, type, proto, flags;
  char port_text[16];
} question;

/* Understand (at, host, service, family, type, proto, flags), if all are of the commonest types and
 * right. */
static int understand(PyObject *self, PyObject *args, question *asked) {
  PyObject *host, *service;
  long known = PyLong_AsLong(PyTuple_GetItem(self, 2)), port = -1;
  int ints = 0;

  asked->encoded = NULL;
  for (int i = 0; i < 4; i++) {
    PyObject *number = PyTuple_GetItem(args, 3 + i);
    ints += number != NULL && PyLong_Check(number); /* __index__ of others may close the loop */
  }
  if (ints < 4 || !PyArg_ParseTuple(args, "OOOiiii", &asked->at, &host, &service, &asked->family,
                                    &asked->type, &asked->proto, &asked->flags)) {
    PyErr_Clear();
    return 0;
  }
  if (PyLong_CheckExact(service))
    port = PyLong_AsLong(service);
  if (PyUnicode_CheckExact(host))
    asked->encoded = PyUnicode_AsUTF8String(host);
  PyErr_Clear();
  if (asked->encoded == NULL || asked->family < 0 || asked->type < 0 || asked->proto < 0 ||
      (asked->flags & ~known) != 0 || (service != Py_None && (port < 0 || port > 65535)))
    return 0;
  asked->host = PyBytes_AsString(asked->encoded);
  asked->port = service == Py_None ? NULL : asked->port_text;
  snprintf(asked->port_text, sizeof asked->port_text, "%ld", port);
  return is_plain(asked->host, PyBytes_Size(asked->encoded));
}

static uvb_loop *usable_loop(PyObject *core) {
  uvb_loop *loop = uvb_core_loop(core);

  PyErr_Clear();
  return loop == NULL || loop->closed ? NULL : loop;
}

/* numeric(loop, host, service, family, type, proto, flags) -> the results, or what
 * uvb_getaddrinfo_numeric returns instead. None leaves it to Python: everything that is not of
 * the commonest types. */
static PyObject *numeric(PyObject *self, PyObject *args) {
  PyObject *results = Py_None;
  struct addrinfo *infos = NULL;
  uvb_loop *loop;
  question asked;

  if (understand(self, args, &asked) && (loop = usable_loop(asked.at)) != NULL) {
    int err = uvb_getaddrinfo_numeric(loop, asked.host, asked.port, asked.family, asked.type,
                                      asked.proto, asked.flags, &infos);
    results = err == 0 ? all_found(self, infos) : PyLong_FromLong(err);
    uv_freeaddrinfo(infos);
  } else {
    Py_INCREF(results);
  }
  Py_XDECREF(asked.encoded);
  return results;
}

/* begin(request, host, service, family, type, proto, flags) -> 0 or libuv's error: look up in a
 * thread what numeric() has understood, and returned 1 for. */
static PyObject *begin(PyObject *self, PyObject *args) {
  uvb_request *request;
  question asked;
  int err = UV_ENOMEM; /* what numeric() has understood can only lack memory */

  if (understand(self, args, &asked) && (request = uvb_core_request(asked.at)) != NULL)
    err = uvb_getaddrinfo(&request->uv.getaddrinfo, request->loop, asked.host, asked.port,
                          asked.family, asked.type, asked.proto, asked.flags);
  Py_XDECREF(asked.encoded);
  return PyErr_Occurred() ? NULL : PyLong_FromLong(err);
}

static PyMethodDef found_def = {"found", found, METH_O, NULL};
static PyMethodDef numeric_def = {"numeric", numeric, METH_VARARGS, NULL};
static PyMethodDef begin_def = {"begin", begin, METH_VARARGS, NULL};

/* resolver(families, types, flags) -> (numeric, begin, found), with the enums by number. */
PyObject *uvb_resolver(PyObject *module, PyObject *args) {
  PyObject *now = PyCFunction_NewEx(&numeric_def, args, NULL);
  PyObject *later = PyCFunction_NewEx(&begin_def, args, NULL);
  PyObject *end = PyCFunction_NewEx(&found_def, args, NULL), *all = NULL;
  (void)module;

  if (now != NULL && later != NULL && end != NULL)
    all = PyTuple_Pack(3, now, later, end);
  Py_XDECREF(end);
  Py_XDECREF(later);
  Py_XDECREF(now);
  return all;
}

#endif
