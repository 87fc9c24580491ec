/* Streams: where reads land, and the callbacks of connections, reads and requests. */
#include "uvbind.h"

#include <errno.h>

#ifndef _WIN32
#include <sys/ioctl.h>
#include <sys/socket.h>
#endif

/* Leaves the stream as uv_read_stop() does: libuv 1.53 refuses to read when there is a callback. */
static void ignore_cb(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
  stream->read_cb = NULL;
  (void)nread;
  (void)buffer;
}

/* A read is next. Python may stop it in here, or close the stream: libuv is to read nothing then,
 * but tells the read callback so, which it no longer has. */
static int is_off(uvb_handle *ours) {
  if (!ours->loop->forked)
    uvb_loop_catch_up(ours->loop);
  if (ours->loop->forked)
    return 1; /* what the child read would be missing in the parent */
  if (ours->asks && ours->uv.stream.read_cb != NULL)
    uvb_python_alloc(ours);
  if (ours->uv.stream.read_cb != NULL)
    return ours->asks && ours->into == NULL;
  ours->uv.stream.read_cb = ignore_cb;
  ours->into = NULL;
  return 1;
}

void uvb_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  uvb_handle *ours = handle->data;
  (void)suggested;
  if (is_off(ours)) {
    *buffer = uv_buf_init(NULL, 0);
  } else if (ours->into != NULL) {
    buffer->base = ours->into;
    buffer->len = ours->into_size;
  } else {
    buffer->base = ours->loop->slab;
    buffer->len = UVB_SLAB_SIZE;
  }
}

void uvb_handle_read_into(uvb_handle *handle, char *buffer, size_t size) {
  handle->into = buffer;
  handle->into_size = size;
}

void uvb_handle_asks(uvb_handle *handle, int asks) { handle->asks = asks; }

/* Once the peer has hung up, libuv takes a read that did not fill its buffer for the last one. But
 * what came with a descriptor, from another process or before urgent data is read by itself, and
 * after the data of a connection that was reset comes the error. More than 0 when there is more to
 * read, 0 at the end, an error of libuv's. */
static ssize_t after_last(const uv_stream_t *stream) {
#ifdef _WIN32
  (void)stream;
  return 0;
#else
  uv_os_fd_t fd;
  int size = 0;
  char byte;
  ssize_t found;

  if (uv_fileno((const uv_handle_t *)stream, &fd) != 0)
    return 0;
  found = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (found >= 0)
    return found;
  if (errno == ENOTSOCK)
    return ioctl(fd, FIONREAD, &size) == 0 ? size : 0;
  return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : uv_translate_sys_error(errno);
#endif
}

void uvb_read_cb(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
  uvb_handle *ours = stream->data;

  if (ours->loop->forked)
    return;
  if (nread == UV_ENOBUFS && ours->asks)
    return; /* Python lent no buffer, and has said why */
  if (nread == UV_EOF && buffer->base == NULL) { /* libuv has concluded so, and not read it */
    ssize_t found = after_last(stream);
    if (found > 0 && uv_read_start(stream, uvb_alloc_cb, uvb_read_cb) == 0)
      return;
    if (found < 0)
      nread = found;
  }
  if (nread > 0)
    uvb_python_read(ours, buffer->base, nread);
  else if (nread < 0 || ours->asks) { /* 0: nothing after all */
    uvb_python_enter(ours->loop);
    uvb_python_returned(ours);
    uvb_on_read(uvb_python_self(ours), NULL, nread);
  }
}

/* What a write could not send at once, until libuv has. */
typedef struct {
  uv_write_t req;
  void *kept; /* what keeps the bytes: a reference to `object`, or a copy */
} rest_of_write;

static void rest_written(uv_write_t *req, int status) {
  rest_of_write *rest = (rest_of_write *)req;
  uvb_handle *ours = req->handle->data;

  uvb_python_let_go(ours->loop, rest->kept);
  free(rest);
  if (status < 0 && status != UV_ECANCELED)
    uvb_on_write_failed(uvb_python_self(ours), status);
}

/* A write without a callback: 1 when the bytes (of `object`) are on their way. 0, with nothing
 * done, leaves what is out of the ordinary to Stream.write in Python; -1 is out of memory. */
int uvb_write_now(uvb_handle *handle, const char *data, size_t size, void *object) {
  uv_stream_t *stream = &handle->uv.stream;
  uv_buf_t buffer = uv_buf_init((char *)data, (unsigned int)size);
  rest_of_write *rest;
  int sent;

  /* uv_try_write counts in int */
  if (size > INT32_MAX || uv_is_closing(&handle->uv.handle) || !uv_is_writable(stream))
    return 0;
  sent = uv_try_write(stream, &buffer, 1);
  if (sent == (int)size)
    return 1;
  if (sent < 0) /* EAGAIN; or a failure that uv_write will meet again and report */
    sent = 0;

  rest = malloc(sizeof *rest);
  if (rest == NULL)
    return -1;
  size -= (size_t)sent;
  rest->kept = uvb_python_keep(object, data + sent, size);
  if (rest->kept == NULL) {
    free(rest);
    return -1;
  }
  buffer = uv_buf_init((char *)(object != NULL ? data + sent : rest->kept), (unsigned int)size);
  if (uv_write(&rest->req, stream, &buffer, 1, rest_written) != 0) {
    uvb_python_unkeep(rest->kept);
    free(rest);
    return -1; /* it was writable a moment ago: only memory can be lacking */
  }
  return 1;
}

void uvb_connect_cb(uv_connect_t *req, int status) { uvb_python_request(req->data, status); }

void uvb_write_cb(uv_write_t *req, int status) { uvb_python_request(req->data, status); }

void uvb_shutdown_cb(uv_shutdown_t *req, int status) { uvb_python_request(req->data, status); }
