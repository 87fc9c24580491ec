/* UDP: where datagrams land, gathering them into batches, sending several at once; the socket
 * itself is in udp_socket.c. */
#include "uvbind.h"

static void ignore_cb(uv_udp_t *udp, ssize_t nread, const uv_buf_t *buffer,
                      const struct sockaddr *sender, unsigned int flags) {
  (void)udp;
  (void)nread;
  (void)buffer;
  (void)sender;
  (void)flags;
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  uvb_loop *loop = handle->loop->data;
  uv_udp_t *udp = (uv_udp_t *)handle;
  (void)suggested;
  if (!loop->forked)
    uvb_loop_catch_up(loop);
  if (udp->recv_cb == NULL) /* stopped, or closed: libuv asks it to take nothing all the same */
    udp->recv_cb = ignore_cb;
  if (loop->forked || udp->recv_cb == ignore_cb) { /* the child would take what is the parent's */
    *buffer = uv_buf_init(NULL, 0);
  } else if (uv_udp_using_recvmmsg((uv_udp_t *)handle))
    *buffer = uv_buf_init(loop->datagrams, UVB_DATAGRAMS * UVB_DATAGRAM_SIZE);
  else
    *buffer = uv_buf_init(loop->slab, UVB_DATAGRAM_SIZE);
}

/* libuv has none for a unix socket's, but what its memory held before. */
static const struct sockaddr nobody;

/* From 1.52 on libuv gives NULL, as when there is no datagram. */
static const struct sockaddr *known(const uvb_handle *handle, const struct sockaddr *sender,
                                    ssize_t nread, unsigned int flags) {
  if (sender == NULL)
    return nread > 0 || (nread == 0 && flags & UV_UDP_MMSG_CHUNK) ? &nobody : NULL;
  return handle->no_senders ? &nobody : sender;
}

/* Receiving was stopped inside a batch that recvmmsg received. libuv would drop the rest, so Python
 * keeps it for the next recv_start(). */
static void keep_cb(uv_udp_t *udp, ssize_t nread, const uv_buf_t *buffer,
                    const struct sockaddr *sender, unsigned int flags) {
  uvb_handle *ours = udp->data;

  if (flags & UV_UDP_MMSG_CHUNK) {
    if (!(flags & UV_UDP_LINUX_RECVERR) && !uv_is_closing((uv_handle_t *)udp))
      uvb_on_datagram(uvb_python_self(ours), buffer->base, nread,
                      known(ours, sender, nread, flags),
                      (flags & UV_UDP_PARTIAL) | UVB_KEEP);
  } else { /* libuv gives the buffer back: that was all */
    ours->in_batch = 0;
    udp->recv_cb = NULL;
  }
}

int uvb_udp_recv_stop(uvb_handle *handle) {
  int err = uv_udp_recv_stop(&handle->uv.udp);
  if (err == 0 && handle->in_batch)
    handle->uv.udp.recv_cb = keep_cb;
  return err;
}

/* With recvmmsg the batch is what one system call received, whose end libuv tells with a last
 * call that only gives the buffer back. Without it libuv receives datagram by datagram until
 * there is none, or until it has had as many as it takes in a turn. */
static void recv_cb(uv_udp_t *udp, ssize_t nread, const uv_buf_t *buffer,
                    const struct sockaddr *sender, unsigned int flags) {
  uvb_handle *ours = udp->data;
  int empty = 0;

  if (ours->loop->forked)
    return;
  if (flags & UV_UDP_LINUX_RECVERR) { /* from the error queue, which libuv reads from 1.52 on */
    nread = (int32_t)nread;           /* libuv hands the error over as an unsigned number, */
    sender = NULL;                    /* with whom the datagram was for */
    if (nread >= 0)
      return;
  }
  sender = known(ours, sender, nread, flags);
  ours->in_batch = (flags & UV_UDP_MMSG_CHUNK) != 0;
  if (sender != NULL) {
    ours->found = 1;
  } else if (!(flags & UV_UDP_MMSG_FREE)) { /* there is nothing more */
    empty = !ours->found;
    ours->found = 0;
  }
  if (uv_is_closing((uv_handle_t *)udp)) /* by the callback: libuv hands over the others still */
    return;
  if (sender != NULL) {
    ours->batched += ours->batching != 0;
    uvb_python_datagram(ours, buffer->base, nread, sender, flags & UV_UDP_PARTIAL);
    if (ours->batched < UVB_DATAGRAM_TURN)
      return;
  }
  if (ours->batched > 0) { /* enough, or nothing more, or an error, or the buffer back */
    ours->batched = 0;
    uvb_python_batch(ours);
  }
  /* An error is also in the socket's error queue when the kernel keeps one. A socket that was said
   * to be readable and is not has errors in there only. */
  if (flags & UV_UDP_LINUX_RECVERR ||
      ((nread < 0 || empty) && uvb_udp_tell_errors(ours) == 0 && nread < 0))
    uvb_on_datagram(uvb_python_self(ours), NULL, nread, NULL, 0);
}

int uvb_udp_recv_start(uvb_handle *handle, int batch) {
  uvb_attempt attempt;
  int err;

  if (uv_udp_using_recvmmsg(&handle->uv.udp) && handle->loop->datagrams == NULL) {
    handle->loop->datagrams = malloc(UVB_DATAGRAMS * UVB_DATAGRAM_SIZE);
    if (handle->loop->datagrams == NULL)
      return UV_ENOMEM;
  }
  attempt = uvb_begin(&handle->uv.handle);
  err = uvb_has_room(&handle->uv.handle);
  if (err == 0)
    err = uv_udp_recv_start(&handle->uv.udp, alloc_cb, recv_cb);
  uvb_end(&attempt, err);
  if (err == 0)
    handle->batching = batch;
  return err;
}

void uvb_udp_send_cb(uv_udp_send_t *req, int status) {
  uvb_python_request(req->data, status);
}

/* uv_udp_send, which has libuv watch the socket when the kernel does not take the datagram. */
int uvb_udp_send(uv_udp_send_t *req, uv_udp_t *udp, const uv_buf_t *buffers, unsigned int count,
                 const struct sockaddr *address, uv_udp_send_cb callback) {
  uvb_attempt attempt = uvb_begin((uv_handle_t *)udp);
  int err = uvb_has_room((uv_handle_t *)udp);

  if (err == 0)
    err = uv_udp_send(req, udp, buffers, count, address, callback);
  return uvb_end(&attempt, err);
}

/* What a send could not hand to the kernel at once, until libuv has. */
typedef struct {
  uv_udp_send_t req;
  void *kept;
} rest_of_send;

static void rest_sent(uv_udp_send_t *req, int status) {
  rest_of_send *rest = (rest_of_send *)req;
  uvb_handle *ours = req->handle->data;

  uvb_python_let_go(ours->loop, rest->kept);
  free(rest);
  if (status < 0 && status != UV_ECANCELED)
    uvb_on_write_failed(uvb_python_self(ours), status);
}

/* A send without a callback: 0 when the datagram (the bytes of `object`) is on its way, or
 * libuv's error. */
int uvb_udp_send_now(uvb_handle *handle, const char *data, size_t size,
                     const struct sockaddr *address, void *object) {
  uv_udp_t *udp = &handle->uv.udp;
  uv_buf_t buffer = uv_buf_init((char *)data, (unsigned int)size);
  rest_of_send *rest;
  int err;

  if (size > UVB_DATAGRAM_SIZE)
    return UV_EMSGSIZE;
  err = uv_udp_try_send(udp, &buffer, 1, address);
  if (err != UV_EAGAIN)
    return err < 0 ? err : 0;

  rest = malloc(sizeof *rest);
  if (rest == NULL)
    return UV_ENOMEM;
  rest->kept = uvb_python_keep(object, data, size);
  if (rest->kept == NULL) {
    free(rest);
    return UV_ENOMEM;
  }
  if (object == NULL)
    buffer.base = rest->kept;
  err = uvb_udp_send(&rest->req, udp, &buffer, 1, address, rest_sent);
  if (err != 0) {
    uvb_python_unkeep(rest->kept);
    free(rest);
  }
  return err;
}

/* A datagram for now or not at all: how many bytes were sent, or libuv's error. */
int uvb_udp_try_send(uvb_handle *handle, const char *data, size_t size,
                     const struct sockaddr *address) {
  uv_buf_t buffer = uv_buf_init((char *)data, (unsigned int)size);
  return size > UVB_DATAGRAM_SIZE ? UV_EMSGSIZE
                                  : uv_udp_try_send(&handle->uv.udp, &buffer, 1, address);
}

/* Sends as many of `count` datagrams as the kernel takes and returns how many, or the error of
 * the first. libuv loses count of more than UVB_DATAGRAMS at once, so they go in portions. */
int uvb_udp_send_batch(uvb_handle *handle, unsigned int count, uv_buf_t *datagrams,
                       struct sockaddr **addresses) {
  uv_udp_t *udp = &handle->uv.udp;
  unsigned int sent = 0, valid = 0;
  int result = 0;

  /* uv_udp_try_send2 does not look, unlike uv_udp_try_send. */
  while (valid < count && (result = uvb_udp_check_address(handle, addresses[valid])) == 0)
    valid++;
  if (valid == 0)
    return result;
  count = valid;
  while (sent < count) {
#if UVB_HAS(1, 50)
    uv_buf_t *buffers[UVB_DATAGRAMS];
    unsigned int ones[UVB_DATAGRAMS];
    unsigned int portion = 0;
    while (portion < UVB_DATAGRAMS && sent + portion < count) {
      buffers[portion] = &datagrams[sent + portion];
      ones[portion++] = 1;
    }
    result = uv_udp_try_send2(udp, portion, buffers, ones, addresses + sent, 0);
#else
    unsigned int portion = 1;
    result = uv_udp_try_send(udp, datagrams + sent, 1, addresses[sent]);
    if (result >= 0)
      result = 1;
#endif
    if (result > 0)
      sent += (unsigned int)result;
    if (result < (int)portion)
      break;
  }
  return sent > 0 ? (int)sent : result;
}
