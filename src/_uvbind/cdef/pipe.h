typedef ... uv_pipe_t;

#define UV_PIPE_NO_TRUNCATE ...
#define UVB_PIPE_NAME_SIZE ...

int uv_pipe_getsockname(const uv_pipe_t *pipe, char *buffer, size_t *size);
int uv_pipe_getpeername(const uv_pipe_t *pipe, char *buffer, size_t *size);
void uv_pipe_pending_instances(uv_pipe_t *pipe, int count);
int uv_pipe_pending_count(uv_pipe_t *pipe);
uv_handle_type uv_pipe_pending_type(uv_pipe_t *pipe);
int uv_pipe_chmod(uv_pipe_t *pipe, int mode);
int uv_pipe(uv_os_fd_t fds[2], int read_flags, int write_flags);
