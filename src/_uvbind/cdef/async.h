typedef ... uv_async_t;
typedef void (*uv_async_cb)(uv_async_t *async);

int uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb callback);
int uv_async_send(uv_async_t *async);
