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
  const char *canonname = found->ai_canonname != NULL ? found->ai_canonname : "";
  PyObject *tuple = NULL;

  if (family != NULL && type != NULL && address != NULL)
    tuple = Py_BuildValue("(OOisO)", family, type, found->ai_protocol, canonname, address);
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

/* getaddrinfo(loop, host, service, family, type, proto, flags) -> results, or libuv's error.
 * Host and service are bytes or None. Only what may take long lets go of the GIL. */
static PyObject *getaddrinfo_now(PyObject *self, PyObject *args) {
  PyObject *address, *host_object, *service_object, *results;
  const char *host, *service;
  struct addrinfo *infos = NULL;
  int family, type, proto, flags, err = UV_EAI_NONAME;
  uvb_loop *loop;

  if (!PyArg_ParseTuple(args, "OOOiiii", &address, &host_object, &service_object, &family, &type,
                        &proto, &flags))
    return NULL;
  loop = PyLong_AsVoidPtr(address);
  host = host_object == Py_None ? NULL : PyBytes_AsString(host_object);
  service = service_object == Py_None ? NULL : PyBytes_AsString(service_object);
  if (PyErr_Occurred())
    return NULL;
  if (uvb_may_be_numeric(host))
    err = uvb_getaddrinfo_now(loop, host, service, family, type, proto, flags | AI_NUMERICHOST,
                              &infos);
  if (err == UV_EAI_NONAME && host != NULL && !(flags & AI_NUMERICHOST)) {
    Py_BEGIN_ALLOW_THREADS
    err = uvb_getaddrinfo_now(loop, host, service, family, type, proto, flags, &infos);
    Py_END_ALLOW_THREADS
  }
  results = err == 0 ? all_found(self, infos) : PyLong_FromLong(err);
  uv_freeaddrinfo(infos);
  return results;
}

static PyMethodDef found_def = {"found", found, METH_O, NULL};
static PyMethodDef getaddrinfo_def = {"getaddrinfo", getaddrinfo_now, METH_VARARGS, NULL};

/* resolver(families, types) -> (getaddrinfo, found), with the enums by number. */
PyObject *uvb_resolver(PyObject *module, PyObject *args) {
  PyObject *now, *later, *both = NULL;
  (void)module;

  now = PyCFunction_NewEx(&getaddrinfo_def, args, NULL);
  later = PyCFunction_NewEx(&found_def, args, NULL);
  if (now != NULL && later != NULL)
    both = PyTuple_Pack(2, now, later);
  Py_XDECREF(later);
  Py_XDECREF(now);
  return both;
}

#endif
