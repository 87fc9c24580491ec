/* Metrics: what a loop has done and has in one call, and the idle time that libuv forgets.
 *
 * libuv notes the time when it begins to wait, and adds up what has passed since when it is woken.
 * A signal that interrupts the wait has it note the time anew, and nothing was added: a loop that
 * does nothing but get a few signals would seem to be busy all the time. So we note too when a
 * poll begins, and what is called back for signals makes up for it, with the time when the poll
 * ended, which the loop's clock has to the millisecond. */
#include "uvbind.h"

enum { NANOSECONDS = 1000000 }; /* in a millisecond */

void uvb_metrics_before_poll(uvb_loop *loop) {
  if (loop->measuring) {
    loop->poll_began = uv_hrtime();
    loop->idle_before = uv_metrics_idle_time(&loop->uv);
  }
}

void uvb_metrics_signalled(uvb_loop *loop) {
  uint64_t known, ended;

  if (loop->poll_began == 0) /* is not measured, or made up for */
    return;
  known = loop->poll_began + uv_metrics_idle_time(&loop->uv) - loop->idle_before;
  ended = uv_now(&loop->uv) * NANOSECONDS;
  if (ended > known)
    loop->forgotten += ended - known;
  loop->poll_began = 0;
}

uint64_t uvb_loop_idle_time(uvb_loop *loop) {
  return uv_metrics_idle_time(&loop->uv) + loop->forgotten;
}

static void add(uv_handle_t *handle, void *pointer) {
  uvb_metrics *metrics = pointer;

  if (handle->data == NULL || uv_is_closing(handle)) /* ours have no data */
    return;
  metrics->handles++;
  switch (handle->type) {
  case UV_TCP:
  case UV_NAMED_PIPE:
    metrics->queued_bytes += uv_stream_get_write_queue_size((uv_stream_t *)handle);
    break;
  case UV_UDP:
    metrics->queued_bytes += uv_udp_get_send_queue_size((uv_udp_t *)handle);
    break;
  default:
    break;
  }
}

void uvb_loop_measure(uvb_loop *loop, uvb_metrics *metrics) {
  memset(metrics, 0, sizeof *metrics);
  metrics->time = uv_hrtime();
  metrics->idle_time = uvb_loop_idle_time(loop);
  metrics->counted = uv_metrics_info(&loop->uv, &metrics->counts) == 0;
  metrics->requests = uvb_loop_active_requests(loop);
  uv_walk(&loop->uv, add, metrics);
}
