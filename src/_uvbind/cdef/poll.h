typedef ... uv_poll_t;

enum uv_poll_event {
  UV_READABLE,
  UV_WRITABLE,
  UV_DISCONNECT,
  UV_PRIORITIZED,
  ...
};

int uv_poll_stop(uv_poll_t *poll);
