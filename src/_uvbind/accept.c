/* Accepting: connections that wait for accept().
 *
 * libuv accepts one connection, calls back, and stops listening when the callback did not call
 * uv_accept: a server whose callback raised once falls silent. Here a connection waits beside libuv,
 * which goes on, or is closed when the callback raised. */
#include "uvbind.h"

#ifdef _WIN32

int uvb_listen(uvb_handle *server, int backlog) {
  return uv_listen(&server->uv.stream, backlog, uvb_connection_cb);
}

int uvb_handle_accept(uvb_handle *server, uvb_handle *client) {
  return uv_accept(&server->uv.stream, &client->uv.stream);
}

void uvb_connection_waits(uvb_handle *server) { (void)server; }
void uvb_drop_connections(uvb_handle *server) { (void)server; }

void uvb_connection_cb(uv_stream_t *server, int status) {
  uvb_handle *ours = server->data;
  uvb_on_connection(uvb_python_self(ours), status);
}

#else

#include <unistd.h>

int uvb_listen(uvb_handle *server, int backlog) {
  uvb_attempt attempt = uvb_begin(&server->uv.handle);
  int err = uvb_end(&attempt, uv_listen(&server->uv.stream, backlog, uvb_connection_cb));
  if (err == 0) {
    server->backlog = backlog;
    server->listens = 1;
  }
  return err;
}

/* The connection that libuv holds waits with the others. No more than the backlog do, and with no
 * room or memory libuv keeps it: then libuv does not listen until it is accepted. */
static void hold(uvb_handle *server) {
  uv_stream_t *stream = &server->uv.stream;
  int *grown;

  if (server->waiting_count >= server->backlog)
    return;
  grown = realloc(server->waiting, (size_t)(server->waiting_count + 1) * sizeof *grown);
  if (grown == NULL)
    return;
  server->waiting = grown;
  grown[server->waiting_count++] = stream->accepted_fd;
  stream->accepted_fd = -1;
}

/* libuv gets the oldest connection to hand it out; the one it holds goes to the end. */
static void oldest_first(uvb_handle *server) {
  uv_stream_t *stream = &server->uv.stream;
  int oldest = server->waiting[0];

  server->waiting_count--;
  memmove(server->waiting, server->waiting + 1,
          (size_t)server->waiting_count * sizeof *server->waiting);
  if (stream->accepted_fd != -1)
    server->waiting[server->waiting_count++] = stream->accepted_fd;
  stream->accepted_fd = oldest;
}

int uvb_handle_accept(uvb_handle *server, uvb_handle *client) {
  uv_stream_t *stream = &server->uv.stream;
  int held = stream->accepted_fd != -1, err;

  if (server->waiting_count > 0)
    oldest_first(server);
  if (stream->accepted_fd != -1) { /* it may have come over a pipe, as a number that libuv never closes */
    stream->accepted_fd = uvb_above_2(stream->accepted_fd);
    if (stream->accepted_fd == -1)
      return UV_EMFILE;
    if (uvb_room_for(stream->loop, stream->accepted_fd) != 0)
      return UV_ENOMEM;
  }
  if (client->uv.handle.type == UV_UDP)
    err = uvb_udp_accept(stream, client);
  else {
    const unsigned int flags = client->uv.handle.flags;
    err = uv_accept(stream, &client->uv.stream);
    if (err != 0)
      client->uv.handle.flags = flags; /* libuv has called it readable and writable */
  }
  /* uv_accept has libuv poll the pipe that handles arrive through, also when nobody reads: without a
   * read callback the poll would return at once, over and over. */
  if (err == 0 && !server->listens && uv_read_start(stream, uvb_alloc_cb, uvb_read_cb) == 0)
    uv_read_stop(stream);
  /* When the new handle could not take the connection, libuv has closed it, and does not listen
   * again if it held it since an earlier turn. */
  if (err != 0 && held && server->listens && stream->accepted_fd == -1)
    uv_listen(stream, server->backlog, uvb_connection_cb);
  return err;
}

/* The listen callback has returned and has not accepted the connection. */
void uvb_connection_waits(uvb_handle *server) {
  if (server->uv.stream.accepted_fd != -1)
    hold(server);
  server->leaves = 1;
}

void uvb_drop_connections(uvb_handle *server) {
  while (server->waiting_count > 0)
    close(server->waiting[--server->waiting_count]);
  free(server->waiting);
  server->waiting = NULL;
}

void uvb_connection_cb(uv_stream_t *server, int status) {
  uvb_handle *ours = server->data;

  uvb_exhaustion_rearm(ours->loop);
  ours->leaves = 0;
  uvb_on_connection(uvb_python_self(ours), status);
  if (server->accepted_fd != -1 && !ours->leaves) { /* the callback raised */
    close(server->accepted_fd);
    server->accepted_fd = -1;
  }
}

#endif
