typedef ... uv_stream_t;
typedef ... uv_connect_t;
typedef ... uv_shutdown_t;
typedef ... uv_write_t;
typedef struct { char *base; size_t len; ...; } uv_buf_t;
typedef void (*uv_alloc_cb)(uv_handle_t *handle, size_t size, uv_buf_t *buf);
typedef void (*uv_read_cb)(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);
typedef void (*uv_write_cb)(uv_write_t *req, int status);
typedef void (*uv_connect_cb)(uv_connect_t *req, int status);
typedef void (*uv_shutdown_cb)(uv_shutdown_t *req, int status);

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb callback);
int uv_read_stop(uv_stream_t *stream);
int uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t bufs[], unsigned int nbufs,
             uv_write_cb callback);
int uv_write2(uv_write_t *req, uv_stream_t *stream, const uv_buf_t bufs[], unsigned int nbufs,
              uv_stream_t *send_handle, uv_write_cb callback);
int uv_try_write(uv_stream_t *stream, const uv_buf_t bufs[], unsigned int nbufs);
int uv_try_write2(uv_stream_t *stream, const uv_buf_t bufs[], unsigned int nbufs,
                  uv_stream_t *send_handle);
int uv_shutdown(uv_shutdown_t *req, uv_stream_t *stream, uv_shutdown_cb callback);
int uv_is_readable(const uv_stream_t *stream);
int uv_is_writable(const uv_stream_t *stream);
int uv_stream_set_blocking(uv_stream_t *stream, int blocking);
size_t uv_stream_get_write_queue_size(const uv_stream_t *stream);
