/* Requests that are done at once, but may not call back before their caller has returned. */
#include "uvbind.h"

/* An idle watcher, so the loop does not wait; it keeps the loop alive while it is active. */
static void later_cb(uv_idle_t *idle) {
  uvb_loop *loop = idle->loop->data;
  uvb_request *last = loop->last_done; /* what callbacks add is for the next turn */
  uvb_request *request;

  do {
    request = loop->first_done;
    loop->first_done = request->next;
    loop->done--;
    if (loop->done == 0)
      uv_idle_stop(idle);
    uvb_python_request(request, request->status); /* Python frees it */
  } while (request != last);
}

void uvb_later_init(uvb_loop *loop) { uv_idle_init(&loop->uv, &loop->later); }

void uvb_later(uvb_request *request, int status) {
  uvb_loop *loop = request->loop;

  request->later = 1;
  request->status = status;
  request->next = NULL;
  if (loop->done == 0)
    loop->first_done = request;
  else
    loop->last_done->next = request;
  loop->last_done = request;
  loop->done++;
  uv_idle_start(&loop->later, later_cb);
}
