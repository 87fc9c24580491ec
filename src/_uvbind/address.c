/* Socket addresses between libuv's form and Python's parts. */
#include "uvbind.h"

#ifndef _WIN32
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#endif

_Static_assert(sizeof(struct sockaddr_storage) == UVB_SOCKADDR_SIZE, "room for any address");

/* libuv ignores a scope that is not the name of an interface; a number is one as well. */
static int scope_by_number(const char *scope, struct sockaddr_in6 *in6) {
  unsigned long long number = 0;

  if (scope == NULL)
    return 0;
  while (*++scope >= '0' && *scope <= '9' && number <= UINT32_MAX)
    number = number * 10 + (unsigned int)(*scope - '0');
  if (*scope != '\0' || number == 0 || number > UINT32_MAX)
    return UV_ENXIO;
  in6->sin6_scope_id = (uint32_t)number;
  return 0;
}

int uvb_address_pack(const char *host, int port, unsigned int flowinfo, unsigned int scope_id,
                     struct sockaddr *storage) {
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;
  int err;

  memset(storage, 0, UVB_SOCKADDR_SIZE);
  if (uv_ip4_addr(host, port, (struct sockaddr_in *)storage) == 0)
    return 0;
  err = uv_ip6_addr(host, port, in6);
  if (err != 0)
    return err;
  in6->sin6_flowinfo = htonl(flowinfo);
  if (scope_id != 0)
    in6->sin6_scope_id = scope_id;
  return in6->sin6_scope_id == 0 ? scope_by_number(strchr(host, '%'), in6) : 0;
}

int uvb_address_unpack(const struct sockaddr *storage, char *host, int *port,
                       unsigned int *flowinfo, unsigned int *scope_id) {
  const struct sockaddr_in *in4 = (const struct sockaddr_in *)storage;
  const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)storage;

  if (storage->sa_family == AF_INET) {
    *port = ntohs(in4->sin_port);
    return uv_ip4_name(in4, host, UVB_HOST_SIZE);
  }
  if (storage->sa_family == AF_INET6) {
    *port = ntohs(in6->sin6_port);
    *flowinfo = ntohl(in6->sin6_flowinfo);
    *scope_id = in6->sin6_scope_id;
    return uv_ip6_name(in6, host, UVB_HOST_SIZE);
  }
  return UV_EAFNOSUPPORT;
}

/* SO_TYPE of a descriptor, or libuv's error: uv_tcp_open takes any descriptor and libuv
 * aborts later in epoll_ctl when it was a file. */
int uvb_socket_type(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, (char *)&type, &size) != 0)
#ifdef _WIN32
    return uv_translate_sys_error(WSAGetLastError());
#else
    return uv_translate_sys_error(errno);
#endif
  return type;
}

/* Whether a stream socket listens, or was never connected and does not connect just now. */
int uvb_socket_is_unconnected(int fd) {
#ifdef _WIN32
  (void)fd;
  return 0;
#else
  struct sockaddr_storage name;
  socklen_t size = sizeof name;
  struct pollfd watch = {fd, POLLIN | POLLOUT, 0};
  int listens = 0;

  if (getpeername(fd, (struct sockaddr *)&name, &size) == 0 || errno != ENOTCONN)
    return 0;
  size = sizeof listens;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
    return 1;
  /* One that connects has no event yet. One that was reset can be read, for the error or the end. */
  return poll(&watch, 1, 0) == 1 && watch.revents & POLLHUP && !(watch.revents & (POLLIN | POLLERR));
#endif
}
