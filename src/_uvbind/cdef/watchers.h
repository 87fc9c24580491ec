typedef ... uv_prepare_t;
typedef ... uv_check_t;
typedef ... uv_idle_t;
typedef void (*uv_prepare_cb)(uv_prepare_t *prepare);
typedef void (*uv_check_cb)(uv_check_t *check);
typedef void (*uv_idle_cb)(uv_idle_t *idle);

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb callback);
int uv_prepare_stop(uv_prepare_t *prepare);
int uv_check_start(uv_check_t *check, uv_check_cb callback);
int uv_check_stop(uv_check_t *check);
int uv_idle_start(uv_idle_t *idle, uv_idle_cb callback);
int uv_idle_stop(uv_idle_t *idle);
