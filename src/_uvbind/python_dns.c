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

/* found(request) -> the results of the lookup whose uvb_request is at that address. */
static PyObject *found(PyObject *self, PyObject *address) {
  uvb_request *request = PyLong_AsVoidPtr(address);

  return request == NULL ? NULL : all_found(self, request->uv.getaddrinfo.addrinfo);
}

/* Whether it is text that a C library takes as it is, of a length that names can have. */
static int is_plain(const char *text, Py_ssize_t size) {
  if (size < 1 || size > 255)
    return 0;
  for (Py_ssize_t i = 0; i < size; i++)
    if (text[i] <= 0)
      return 0;
  return 1;
}

/* numeric(loop, host, service, family, type, proto, flags) -> the results, or what
 * uvb_getaddrinfo_numeric returns instead. None leaves it to Python: everything that is not of
 * the commonest types. */
static PyObject *numeric(PyObject *self, PyObject *args) {
  PyObject *address, *host, *service, *encoded, *results = NULL;
  long known = PyLong_AsLong(PyTuple_GetItem(self, 2)), port = -1;
  struct addrinfo *infos = NULL;
  int family, type, proto, flags, err = 0, tried = 0, ints = 0;
  char port_text[16];

  for (int i = 0; i < 4; i++) {
    PyObject *number = PyTuple_GetItem(args, 3 + i);
    ints += number != NULL && PyLong_Check(number); /* __index__ of others may close the loop */
  }
  if (ints < 4 || !PyArg_ParseTuple(args, "OOOiiii", &address, &host, &service, &family, &type,
                                    &proto, &flags)) {
    PyErr_Clear();
    Py_RETURN_NONE;
  }
  if (PyLong_CheckExact(service))
    port = PyLong_AsLong(service);
  encoded = PyUnicode_CheckExact(host) ? PyUnicode_AsUTF8String(host) : NULL;
  PyErr_Clear();
  if (encoded != NULL && is_plain(PyBytes_AsString(encoded), PyBytes_Size(encoded)) && port >= 0 &&
      port <= 65535 && family >= 0 && type >= 0 && proto >= 0 && (flags & ~known) == 0) {
    snprintf(port_text, sizeof port_text, "%ld", port);
    err = uvb_getaddrinfo_numeric(PyLong_AsVoidPtr(address), PyBytes_AsString(encoded), port_text,
                                  family, type, proto, flags, &infos);
    tried = 1;
  }
  Py_XDECREF(encoded);
  if (!tried)
    Py_RETURN_NONE;
  results = err == 0 ? all_found(self, infos) : PyLong_FromLong(err);
  uv_freeaddrinfo(infos);
  return results;
}

static PyMethodDef found_def = {"found", found, METH_O, NULL};
static PyMethodDef numeric_def = {"numeric", numeric, METH_VARARGS, NULL};

/* resolver(families, types, flags) -> (numeric, found), with the enums by number. */
PyObject *uvb_resolver(PyObject *module, PyObject *args) {
  PyObject *at_once, *later, *both = NULL;
  (void)module;

  at_once = PyCFunction_NewEx(&numeric_def, args, NULL);
  later = PyCFunction_NewEx(&found_def, args, NULL);
  if (at_once != NULL && later != NULL)
    both = PyTuple_Pack(2, at_once, later);
  Py_XDECREF(later);
  Py_XDECREF(at_once);
  return both;
}

#endif
