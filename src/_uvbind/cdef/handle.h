typedef ... uv_handle_t;
typedef int uv_os_fd_t;

typedef enum {
  UV_UNKNOWN_HANDLE,
  UV_FILE,
  UV_NAMED_PIPE,
  UV_TCP,
  UV_TTY,
  UV_UDP,
  UV_ASYNC,
  UV_CHECK,
  UV_IDLE,
  UV_POLL,
  UV_PREPARE,
  UV_SIGNAL,
  UV_TIMER,
  ...
} uv_handle_type;

int uv_is_active(const uv_handle_t *handle);
int uv_is_closing(const uv_handle_t *handle);
void uv_ref(uv_handle_t *handle);
void uv_unref(uv_handle_t *handle);
int uv_has_ref(const uv_handle_t *handle);
int uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd);
int uv_send_buffer_size(uv_handle_t *handle, int *value);
int uv_recv_buffer_size(uv_handle_t *handle, int *value);
