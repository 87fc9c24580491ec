/* UDP sockets: taking one over, whom it is connected to, its errors, and options that libuv sets
 * elsewhere than asked. */
#include "uvbind.h"

#ifndef _WIN32
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif
#ifdef __linux__
#include <linux/errqueue.h> /* after netinet/in.h */
#endif

/* Another socket may bind to the address of one that has these set. */
typedef struct {
  int address, port;
} reuse;

#ifdef _WIN32
static void get_reuse(uv_os_sock_t sock, reuse *before) {
  (void)sock;
  (void)before;
}
static void put_back(uv_os_sock_t sock, const reuse *before) {
  (void)sock;
  (void)before;
}
#else
static void get_reuse(int sock, reuse *before) {
  socklen_t size = sizeof(int);
  before->address = before->port = 1; /* where it cannot be read, leave it alone */
  getsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &before->address, &size);
#ifdef SO_REUSEPORT
  size = sizeof(int);
  getsockopt(sock, SOL_SOCKET, SO_REUSEPORT, &before->port, &size);
#endif
}

static void put_back(int sock, const reuse *before) {
  const int off = 0;
  if (!before->address)
    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
#ifdef SO_REUSEPORT
  if (!before->port)
    setsockopt(sock, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
#endif
}
#endif

static void opened(uvb_handle *handle) {
  struct sockaddr_storage name;
  int size = sizeof name;

  handle->connected = -1;
  if (uv_udp_getsockname(&handle->uv.udp, (struct sockaddr *)&name, &size) == 0)
    handle->no_senders = name.ss_family != AF_INET && name.ss_family != AF_INET6;
}

/* uv_udp_open sets SO_REUSEADDR, on the BSDs SO_REUSEPORT: others could take over the port then. */
int uvb_udp_open(uv_udp_t *udp, uv_os_sock_t sock) {
  reuse before;
  int err;

  get_reuse(sock, &before);
  err = uvb_room_for(udp->loop, sock);
  if (err == 0)
    err = uv_udp_open(udp, sock);
  put_back(sock, &before);
  if (err == 0)
    opened(udp->data);
  return err;
}

/* The flags are there from libuv 1.52 on. */
int uvb_udp_open_ex(uv_udp_t *udp, uv_os_sock_t sock, unsigned int flags) {
  int err = uv_udp_open_ex(udp, sock, flags);
  if (err == 0)
    opened(udp->data);
  return err;
}

/* uv_accept takes over a UDP socket as uv_udp_open does. */
int uvb_udp_accept(uv_stream_t *server, uvb_handle *client) {
#ifdef _WIN32
  return uv_accept(server, &client->uv.stream);
#else
  reuse before;
  int sock = server->accepted_fd, err;

  get_reuse(sock, &before);
  err = uv_accept(server, &client->uv.stream);
  if (err == 0) {
    put_back(sock, &before);
    opened(client);
  }
  return err;
#endif
}

int uvb_udp_connect(uvb_handle *handle, const struct sockaddr *address) {
  uvb_attempt attempt = uvb_begin(&handle->uv.handle);
  int err = uvb_end(&attempt, uv_udp_connect(&handle->uv.udp, address));
  handle->connected = -1;
  return err;
}

int uvb_udp_check_address(uvb_handle *handle, const struct sockaddr *address) {
  struct sockaddr_storage name;
  int size = sizeof name;

  if (handle->connected < 0)
    handle->connected =
        uv_udp_getpeername(&handle->uv.udp, (struct sockaddr *)&name, &size) == 0 && size > 0;
  if (handle->connected)
    return address == NULL ? 0 : UV_EISCONN;
  return address == NULL ? UV_EDESTADDRREQ : 0;
}

int uvb_udp_bind(uvb_handle *handle, const struct sockaddr *address, unsigned int flags) {
  uvb_attempt attempt = uvb_begin(&handle->uv.handle);
  int err = uvb_end(&attempt, uv_udp_bind(&handle->uv.udp, address, flags));
#if defined(__linux__)
  /* libuv asks for the errors of IPv6 only; IPv4 may come through the same socket. */
  uv_os_fd_t sock;
  const int on = 1;
  if (err == 0 && flags & UV_UDP_LINUX_RECVERR && address->sa_family == AF_INET6 &&
      uv_fileno(&handle->uv.handle, &sock) == 0)
    setsockopt(sock, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
#endif
  return err;
}

/* AF_INET, AF_INET6 or another family, or libuv's error. */
int uvb_udp_family(uvb_handle *handle) {
  struct sockaddr_storage name;
  int size = sizeof name;
  int err = uv_udp_getsockname(&handle->uv.udp, (struct sockaddr *)&name, &size);
  return err != 0 ? err : name.ss_family;
}

static int set_by_libuv(uv_udp_t *udp, int option, int value) {
  if (option == UVB_TTL)
    return uv_udp_set_ttl(udp, value);
  if (option == UVB_MULTICAST_TTL)
    return uv_udp_set_multicast_ttl(udp, value);
  return uv_udp_set_multicast_loop(udp, value);
}

/* libuv sets the option of IPv4 on an IPv6 socket that it did not bind itself, and none for what IPv4
 * sends through an IPv6 socket. */
int uvb_udp_set_option(uvb_handle *handle, int option, int value) {
#ifndef _WIN32
  static const int ipv6[] = {IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP};
  static const int ipv4[] = {IP_TTL, IP_MULTICAST_TTL, IP_MULTICAST_LOOP};
  uv_os_fd_t sock;

  if (uvb_udp_family(handle) == AF_INET6 && uv_fileno(&handle->uv.handle, &sock) == 0) {
    if (setsockopt(sock, IPPROTO_IPV6, ipv6[option], &value, sizeof value) != 0)
      return uv_translate_sys_error(errno);
    setsockopt(sock, IPPROTO_IP, ipv4[option], &value, sizeof value); /* where there is such */
    return 0;
  }
#endif
  return set_by_libuv(&handle->uv.udp, option, value);
}

/* With IP_RECVERR set the kernel queues errors, and the socket counts as readable until the queue
 * is empty. libuv empties it from 1.52 on, but tells the error of the receiving call as well, which is
 * the same. Before, it would find nothing to read over and over, and the kernel would drop datagrams
 * once the queue has filled the receive buffer. */
#if defined(__linux__) && defined(MSG_ERRQUEUE)

static int queues_errors(int sock) {
  int ipv4 = 0, ipv6 = 0;
  socklen_t size = sizeof(int);

  getsockopt(sock, IPPROTO_IP, IP_RECVERR, &ipv4, &size);
  size = sizeof(int);
  getsockopt(sock, IPPROTO_IPV6, IPV6_RECVERR, &ipv6, &size);
  return ipv4 || ipv6;
}

/* The error that has waited longest, 0 when none does. */
static int next_error(int sock) {
  char control[512]; /* the error and its sender, and what else the socket asks for */
  struct msghdr message = {0};
  struct cmsghdr *part;
  ssize_t found;

  do {
    do {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      found = recvmsg(sock, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    } while (found == -1 && errno == EINTR);
    for (part = found == -1 ? NULL : CMSG_FIRSTHDR(&message); part != NULL;
         part = CMSG_NXTHDR(&message, part)) {
      struct sock_extended_err error;
      if (!(part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR) &&
          !(part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_RECVERR))
        continue;
      memcpy(&error, CMSG_DATA(part), sizeof error);
      if (error.ee_errno != 0 && error.ee_origin != SO_EE_ORIGIN_TIMESTAMPING)
        return (int)error.ee_errno;
    }
  } while (found != -1);
  return 0;
}

int uvb_udp_tell_errors(uvb_handle *handle) {
  uv_udp_t *udp = &handle->uv.udp;
  uv_os_fd_t sock;
  int told = 0, error;

  /* The callback may stop receiving or close the handle. */
  while (!uv_is_closing((uv_handle_t *)udp) && udp->recv_cb != NULL &&
         uv_fileno((uv_handle_t *)udp, &sock) == 0 && (told > 0 || queues_errors(sock)) &&
         (error = next_error(sock)) != 0) {
    told++;
    uvb_on_datagram(uvb_python_self(handle), NULL, uv_translate_sys_error(error), NULL, 0);
  }
  return told;
}

#else

int uvb_udp_tell_errors(uvb_handle *handle) {
  (void)handle;
  return 0;
}

#endif
