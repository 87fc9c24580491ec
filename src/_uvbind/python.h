/* What the C sources that use CPython's API share. */
#ifndef UVBIND_PYTHON_H
#define UVBIND_PYTHON_H

#include "uvbind.h"

#ifndef PYPY_VERSION
/* Take the GIL, unless an earlier callback of this turn of the loop has. */
void uvb_enter(uvb_loop *loop);

/* Hand the exception that is set to Python's `failed`. */
void uvb_report(void);

/* python_stream.c: the names it calls, once; and the builtins of streams. */
int uvb_stream_names(void);
PyObject *uvb_writer(PyObject *module, PyObject *address);
PyObject *uvb_try_writer(PyObject *module, PyObject *address);
PyObject *uvb_reader(PyObject *module, PyObject *args);

/* python_udp.c: an address as Python has it. */
PyObject *uvb_address_tuple(const struct sockaddr *address);

/* python_udp_send.c: the builtins of UDP handles. */
PyObject *uvb_senders(PyObject *module, PyObject *args);

/* python.c: the callback of a stream's read or of a Poll. */
void uvb_hand_over(uvb_handle *handle, PyObject *payload);

/* python_sockets.c: the builtins of sockets that are not libuv's. */
PyObject *uvb_receive(PyObject *module, PyObject *args);
PyObject *uvb_accept(PyObject *module, PyObject *descriptor);

/* python_dns.c: the builtins of name lookups. */
PyObject *uvb_resolver(PyObject *module, PyObject *args);
#endif

#endif
