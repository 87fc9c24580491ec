/* Streams: where reads land, and the callbacks of connections, reads and requests. */
#include "uvbind.h"

void uvb_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  uvb_handle *ours = handle->data;
  (void)suggested;
  if (ours->into != NULL) {
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

void uvb_read_cb(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buffer) {
  if (nread > 0)
    uvb_python_read(stream->data, buffer->base, nread);
  else if (nread < 0) /* 0 is libuv's "nothing after all" */
    uvb_on_read(((uvb_handle *)stream->data)->self, NULL, nread);
}

void uvb_connection_cb(uv_stream_t *server, int status) {
  uvb_handle *ours = server->data;
  uvb_exhaustion_rearm(ours->loop);
  uvb_on_connection(ours->self, status);
}

static void request_cb(void *data, int status) {
  uvb_on_request(((uvb_request *)data)->self, status);
}

void uvb_connect_cb(uv_connect_t *req, int status) { request_cb(req->data, status); }

void uvb_write_cb(uv_write_t *req, int status) { request_cb(req->data, status); }

void uvb_shutdown_cb(uv_shutdown_t *req, int status) { request_cb(req->data, status); }
