/* Verbs that may fail half way: a handle that had no descriptor has none afterwards, is not called
 * readable or writable, and a descriptor that stays the caller's blocks as before.
 *
 * In between, what the verb makes is for the loop of the handle, see system.c. */
#include "uvbind.h"

#ifdef _WIN32

uvb_attempt uvb_begin(uv_handle_t *handle) {
  uvb_attempt attempt = {handle, 0, 0, NULL};
  return attempt;
}

int uvb_end(const uvb_attempt *attempt, int err) {
  (void)attempt;
  return err;
}

int uvb_has_room(uv_handle_t *handle) {
  (void)handle;
  return 0;
}

int uvb_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock) { return uv_tcp_open(tcp, sock); }
int uvb_pipe_open(uv_pipe_t *pipe, uv_file fd) { return uv_pipe_open(pipe, fd); }

#else

#include <fcntl.h>
#include <unistd.h>

static int *descriptor_of(uv_handle_t *handle) {
  return handle->type == UV_UDP ? &((uv_udp_t *)handle)->io_watcher.fd
                                : &((uv_stream_t *)handle)->io_watcher.fd;
}

uvb_attempt uvb_begin(uv_handle_t *handle) {
  uvb_attempt attempt = {handle, handle->flags, *descriptor_of(handle), NULL};
  attempt.current = uvb_set_current(handle->loop);
  return attempt;
}

/* No verb that fails has begun to watch the descriptor. */
int uvb_end(const uvb_attempt *attempt, int err) {
  int *fd = descriptor_of(attempt->handle);

  uvb_set_current(attempt->current);
  if (err == 0)
    return 0;
  attempt->handle->flags = attempt->flags;
  if (attempt->descriptor == -1 && *fd != -1) {
    close(*fd);
    *fd = -1;
  }
  return err;
}

int uvb_has_room(uv_handle_t *handle) {
  return uvb_room_for(handle->loop, *descriptor_of(handle));
}

/* For open(), whose descriptor stays the caller's when it fails. */
static int end_open(const uvb_attempt *attempt, int err, int fd, int mode) {
  uvb_set_current(attempt->current);
  if (err != 0) {
    attempt->handle->flags = attempt->flags;
    if (mode != -1)
      fcntl(fd, F_SETFL, mode);
  }
  return err;
}

int uvb_tcp_open(uv_tcp_t *tcp, uv_os_sock_t sock) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)tcp);
  int mode = fcntl(sock, F_GETFL), err = uvb_room_for(tcp->loop, sock);

  if (err == 0)
    err = uv_tcp_open(tcp, sock);
  return end_open(&attempt, err, sock, mode);
}

int uvb_pipe_open(uv_pipe_t *pipe, uv_file fd) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)pipe);
  int mode = fcntl(fd, F_GETFL), err = uvb_room_for(pipe->loop, fd);

  if (err == 0)
    err = uv_pipe_open(pipe, fd);
  return end_open(&attempt, err, fd, mode);
}

#endif

int uvb_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *address, unsigned int flags) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)tcp);
  return uvb_end(&attempt, uv_tcp_bind(tcp, address, flags));
}

int uvb_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp, const struct sockaddr *address,
                    uv_connect_cb callback) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)tcp);
  return uvb_end(&attempt, uv_tcp_connect(req, tcp, address, callback));
}

int uvb_pipe_bind(uv_pipe_t *pipe, const char *name, size_t size, unsigned int flags) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)pipe);
  return uvb_end(&attempt, uv_pipe_bind2(pipe, name, size, flags));
}

int uvb_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe, const char *name, size_t size,
                     unsigned int flags, uv_connect_cb callback) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)pipe);
  return uvb_end(&attempt, uv_pipe_connect2(req, pipe, name, size, flags, callback));
}
