typedef ... uv_pipe_t;

int uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc);
int uv_pipe_open(uv_pipe_t *pipe, int fd);
int uv_pipe_pending_count(uv_pipe_t *pipe);
uv_handle_type uv_pipe_pending_type(uv_pipe_t *pipe);
