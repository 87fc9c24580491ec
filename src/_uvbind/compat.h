/* Stand-ins for what the libuv at hand is too old to have (UVBIND_SYSTEM_LIBUV=1 takes 1.44
 * and newer). Python asks `needs()` before it calls one, so they are here to compile; those of
 * pipes are reached, for what the old functions can do as well. */
#ifndef UVBIND_COMPAT_H
#define UVBIND_COMPAT_H

#define UVB_HAS(major, minor) (UV_VERSION_HEX >= (((major) << 16) | ((minor) << 8)))

#if !UVB_HAS(1, 44)
#error "uvbind needs libuv 1.44 or newer"
#endif

#if !UVB_HAS(1, 45)
typedef struct {
  uint64_t loop_count;
  uint64_t events;
  uint64_t events_waiting;
} uv_metrics_t;

static inline int uv_metrics_info(uv_loop_t *loop, uv_metrics_t *metrics) {
  (void)loop;
  (void)metrics;
  return UV_ENOSYS;
}
#endif

#if !UVB_HAS(1, 46)
#define UV_PIPE_NO_TRUNCATE 1

/* For names that fit and have no NUL in them. */
static inline int uv_pipe_bind2(uv_pipe_t *pipe, const char *name, size_t size,
                                unsigned int flags) {
  (void)size;
  (void)flags;
  return uv_pipe_bind(pipe, name);
}

static inline int uv_pipe_connect2(uv_connect_t *req, uv_pipe_t *pipe, const char *name,
                                   size_t size, unsigned int flags, uv_connect_cb callback) {
  (void)size;
  (void)flags;
  uv_pipe_connect(req, pipe, name, callback);
  return 0;
}
#endif

#if !UVB_HAS(1, 49)
#define UV_LOOP_USE_IO_URING_SQPOLL 2
#define UV_TCP_REUSEPORT 2
#define UV_UDP_REUSEPORT 64
#endif

#if !UVB_HAS(1, 52)
static inline int uv_tcp_keepalive_ex(uv_tcp_t *tcp, int enable, unsigned int idle,
                                      unsigned int interval, unsigned int count) {
  (void)tcp;
  (void)enable;
  (void)idle;
  (void)interval;
  (void)count;
  return UV_ENOSYS;
}

static inline int uv_udp_open_ex(uv_udp_t *udp, uv_os_sock_t sock, unsigned int flags) {
  (void)udp;
  (void)sock;
  (void)flags;
  return UV_ENOSYS;
}
#endif

#endif
