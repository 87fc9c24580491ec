typedef ... uv_poll_t;
typedef void (*uv_poll_cb)(uv_poll_t *poll, int status, int events);

enum uv_poll_event {
  UV_READABLE,
  UV_WRITABLE,
  UV_DISCONNECT,
  UV_PRIORITIZED,
  ...
};

int uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd);
int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_t *poll);
