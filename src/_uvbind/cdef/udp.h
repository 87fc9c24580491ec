typedef ... uv_udp_t;
typedef ... uv_udp_send_t;
typedef void (*uv_udp_send_cb)(uv_udp_send_t *req, int status);
typedef void (*uv_udp_recv_cb)(uv_udp_t *udp, ssize_t nread, const uv_buf_t *buf,
                               const struct sockaddr *address, unsigned int flags);
typedef enum { UV_LEAVE_GROUP, UV_JOIN_GROUP, ... } uv_membership;

#define UV_UDP_IPV6ONLY ...
#define UV_UDP_PARTIAL ...
#define UV_UDP_REUSEADDR ...
#define UV_UDP_REUSEPORT ...
#define UV_UDP_LINUX_RECVERR ...
#define UV_UDP_RECVMMSG ...

int uv_udp_getpeername(const uv_udp_t *udp, struct sockaddr *name, int *namelen);
int uv_udp_getsockname(const uv_udp_t *udp, struct sockaddr *name, int *namelen);
int uv_udp_set_membership(uv_udp_t *udp, const char *group, const char *interface,
                          uv_membership membership);
int uv_udp_set_source_membership(uv_udp_t *udp, const char *group, const char *interface,
                                 const char *source, uv_membership membership);
int uv_udp_set_multicast_interface(uv_udp_t *udp, const char *interface);
int uv_udp_set_broadcast(uv_udp_t *udp, int on);
int uv_udp_try_send(uv_udp_t *udp, const uv_buf_t bufs[], unsigned int nbufs,
                    const struct sockaddr *address);
int uv_udp_recv_start(uv_udp_t *udp, uv_alloc_cb alloc, uv_udp_recv_cb callback);
int uv_udp_using_recvmmsg(const uv_udp_t *udp);
size_t uv_udp_get_send_queue_size(const uv_udp_t *udp);
size_t uv_udp_get_send_queue_count(const uv_udp_t *udp);
